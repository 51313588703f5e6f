//! Expected texts in `tests/golden`. `UPDATE_GOLDEN=1 cargo test -p reverie-ctl` writes them anew.

use std::path::Path;

/// Compares with `golden/NAME.txt`.
#[track_caller]
pub(crate) fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    if expected != text {
        let line = expected.lines().zip(text.lines()).take_while(|(a, b)| a == b).count();
        let show = |text: &str| text.lines().skip(line).take(8).collect::<Vec<_>>().join("\n");
        panic!("{} differs from line {}\n--- expected\n{}\n--- found\n{}", path.display(), line + 1, show(&expected), show(text));
    }
}
