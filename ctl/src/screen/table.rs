//! Tables that fit the terminal.

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, Color, ContentArrangement};

use super::plain;

/// The colour of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Paint {
    None,
    Red,
    Yellow,
    Dim,
}

/// A table without lines. Every cell is escaped.
pub(crate) struct Table {
    inner: comfy_table::Table,
    rows: usize,
    empty: &'static str,
}

impl Table {
    /// `empty` is shown when there are no rows.
    pub(crate) fn new<const N: usize>(headings: [&str; N], empty: &'static str) -> Self {
        let mut inner = comfy_table::Table::new();
        inner.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        inner.set_header(headings.map(|heading| Cell::new(heading).add_attribute(Attribute::Bold)));
        if let Some(width) = columns() {
            inner.set_width(width);
        }
        Self { inner, rows: 0, empty }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows += 1;
        self.inner.add_row(cells.map(|cell| Cell::new(plain(&cell))));
    }

    /// A row in one colour, on a terminal.
    pub(crate) fn painted<const N: usize>(&mut self, paint: Paint, cells: [String; N]) {
        self.rows += 1;
        self.inner.add_row(cells.map(|cell| {
            let cell = Cell::new(plain(&cell));
            match paint {
                Paint::None => cell,
                Paint::Red => cell.fg(Color::Red),
                Paint::Yellow => cell.fg(Color::Yellow),
                Paint::Dim => cell.add_attribute(Attribute::Dim),
            }
        }));
    }

    pub(crate) fn render(&self) -> String {
        if self.rows == 0 {
            return format!("{}\n", self.empty);
        }
        self.inner.lines().map(|line| format!("{}\n", line.trim_end().strip_prefix(' ').unwrap_or(&line).trim_end())).collect()
    }
}

/// `COLUMNS`, where there is no terminal to ask.
fn columns() -> Option<u16> {
    std::env::var("COLUMNS").ok()?.parse().ok().filter(|&columns| columns >= 20)
}
