//! Who may speak to us, beside being in the view: the static list, joined with the directory's topology.

use std::collections::BTreeSet;

use reverie_core::config::Gossip;
use reverie_core::id::NodeId;

use super::Mesh;

/// The union; it fails closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// No list is configured: the admissions in the view decide.
    ByView,
    /// These and no others.
    Only(BTreeSet<NodeId>),
}

impl Admission {
    /// From the configuration and what the directory said last; a directory that never answered names nobody.
    pub fn new(gossip: &Gossip, topology: &BTreeSet<NodeId>) -> Self {
        if gossip.allowed_node_ids.is_none() && !gossip.ipa_topology {
            return Self::ByView;
        }
        let listed = gossip.allowed_node_ids.iter().flatten().cloned();
        let named = topology.iter().filter(|_| gossip.ipa_topology).cloned();
        Self::Only(listed.chain(named).collect())
    }

    /// Is that host among them?
    pub fn admits(&self, node: &NodeId) -> bool {
        match self {
            Self::ByView => true,
            Self::Only(nodes) => nodes.contains(node),
        }
    }

    /// As `GET /api/admin/mesh` has it.
    pub fn describe(gossip: &Gossip) -> &'static str {
        match (gossip.allowed_node_ids.is_some(), gossip.ipa_topology) {
            (false, false) => "admissions",
            (true, false) => "static",
            (false, true) => "topology",
            (true, true) => "static and topology",
        }
    }
}

impl Mesh {
    /// As it is now.
    pub fn admission(&self, gossip: &Gossip) -> Admission {
        Admission::new(gossip, &self.topology().nodes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    #[test]
    fn without_lists_the_view_decides_and_with_either_the_union_does() {
        let topology = BTreeSet::from([node("t.example.org")]);
        let mut gossip = Gossip::default();
        assert!(Admission::new(&gossip, &topology).admits(&node("x.example.org")));
        gossip.allowed_node_ids = Some(vec![node("s.example.org")]);
        let only_static = Admission::new(&gossip, &topology);
        assert!(only_static.admits(&node("s.example.org")) && !only_static.admits(&node("t.example.org")));
        gossip.ipa_topology = true;
        let union = Admission::new(&gossip, &topology);
        assert!(union.admits(&node("s.example.org")) && union.admits(&node("t.example.org")));
        assert!(!union.admits(&node("x.example.org")));
    }

    #[test]
    fn an_empty_list_and_a_directory_that_never_answered_admit_nobody() {
        let mut gossip = Gossip { allowed_node_ids: Some(vec![]), ..Gossip::default() };
        assert!(!Admission::new(&gossip, &BTreeSet::new()).admits(&node("a.example.org")));
        (gossip.allowed_node_ids, gossip.ipa_topology) = (None, true);
        assert!(!Admission::new(&gossip, &BTreeSet::new()).admits(&node("a.example.org")));
    }
}
