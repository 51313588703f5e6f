//! Numbers for places, as the kernel names them: given once, the same for every caller.

use std::collections::BTreeMap;

use super::Node;

/// The number of the mount point.
pub const ROOT: u64 = 1;

/// Every number given so far. As many as there are names that somebody was shown, which the configuration bounds.
#[derive(Debug)]
pub struct Nodes {
    numbers: BTreeMap<Node, u64>,
    nodes: Vec<Node>,
}

impl Default for Nodes {
    fn default() -> Self {
        Self { numbers: [(Node::Root, ROOT)].into(), nodes: vec![Node::Root] }
    }
}

impl Nodes {
    /// The number of a place that exists for somebody.
    pub fn number(&mut self, node: &Node) -> u64 {
        if let Some(number) = self.numbers.get(node) {
            return *number;
        }
        let number = self.nodes.len() as u64 + ROOT;
        self.nodes.push(node.clone());
        self.numbers.insert(node.clone(), number);
        number
    }

    /// The place with that number, if it was ever given.
    pub fn node(&self, number: u64) -> Option<&Node> {
        let index = usize::try_from(number.checked_sub(ROOT)?).ok()?;
        self.nodes.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_keeps_its_number_and_a_number_its_place() {
        let mut nodes = Nodes::default();
        let web = Node::Identity("web".parse().unwrap());
        let numbers = [&Node::Root, &Node::Certificates, &web, &Node::Certificates, &web].map(|node| nodes.number(node));
        assert_eq!(numbers, [1, 2, 3, 2, 3]);
        assert_eq!(nodes.node(3), Some(&web));
        assert_eq!([0, 4, u64::MAX].map(|number| nodes.node(number)), [None, None, None]);
    }
}
