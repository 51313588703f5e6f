//! DER as a tree that can be bent: for messages that no honest program makes.

/// One element.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tree {
    pub(crate) tag: u8,
    /// Of a primitive.
    pub(crate) bytes: Vec<u8>,
    /// Of a constructed one.
    pub(crate) children: Vec<Tree>,
}

pub(crate) fn primitive(tag: u8, bytes: &[u8]) -> Tree {
    Tree { tag, bytes: bytes.to_vec(), children: vec![] }
}

pub(crate) fn constructed(tag: u8, children: &[Tree]) -> Tree {
    Tree { tag, bytes: vec![], children: children.to_vec() }
}

impl Tree {
    pub(crate) fn of(der: &[u8]) -> Self {
        let (tree, rest) = Self::first(der);
        assert!(rest.is_empty());
        tree
    }

    fn first(der: &[u8]) -> (Self, &[u8]) {
        let (tag, length, head) = match der[1] {
            short @ 0..0x80 => (der[0], usize::from(short), 2),
            long => {
                let count = usize::from(long & 0x7f);
                (der[0], der[2..2 + count].iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), 2 + count)
            }
        };
        let (body, rest) = der[head..].split_at(length);
        let mut tree = Self { tag, bytes: vec![], children: vec![] };
        if tag & 0x20 == 0 {
            tree.bytes = body.to_vec();
        } else {
            let mut body = body;
            while !body.is_empty() {
                let (child, after) = Self::first(body);
                tree.children.push(child);
                body = after;
            }
        }
        (tree, rest)
    }

    pub(crate) fn to_der(&self) -> Vec<u8> {
        let body: Vec<u8> = match self.tag & 0x20 {
            0 => self.bytes.clone(),
            _ => self.children.iter().flat_map(Self::to_der).collect(),
        };
        let mut der = vec![self.tag];
        match body.len() {
            short @ 0..0x80 => der.push(short as u8),
            long => {
                let bytes: Vec<u8> = long.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
                der.push(0x80 | bytes.len() as u8);
                der.extend(bytes);
            }
        }
        der.extend(body);
        der
    }

    /// With every constructed element of indefinite length (X.690 §8.1.3.6): BER, and no DER.
    pub(crate) fn to_indefinite_ber(&self) -> Vec<u8> {
        if self.tag & 0x20 == 0 {
            return self.to_der();
        }
        let mut ber = vec![self.tag, 0x80];
        self.children.iter().for_each(|child| ber.extend(child.to_indefinite_ber()));
        ber.extend([0, 0]);
        ber
    }

    pub(crate) fn at(&mut self, path: &[usize]) -> &mut Self {
        path.iter().fold(self, |tree, index| &mut tree.children[*index])
    }
}
