//! Names that a reader asks the file view for: found where they are listed and nowhere else, whoever asks, in whatever folder.

#![no_main]

use reverie_core::view::{Node, Nodes, SeenIdentity, SeenSecret, Sight};

fn sight(identity: &str, secret: &str) -> Sight {
    let identity = identity.parse().map(|name| SeenIdentity { name, sizes: [1; 6] });
    let secret = secret.parse().map(|name| SeenSecret { name, size: 1 });
    Sight { identities: identity.into_iter().collect(), secrets: secret.into_iter().collect() }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // One path; the reader has what its first step names, too, as far as that can be a name.
    let Ok(path) = std::str::from_utf8(bytes) else { return };
    let own = path.split('/').nth(1).unwrap_or_default();
    let (mut nodes, others) = (Nodes::default(), sight("web", "db"));
    for (reader, other) in [(sight(own, own), &others), (others.clone(), &sight(own, own))] {
        let mut at = Node::Root;
        for name in path.split('/') {
            let listed = reader.list(&at).and_then(|entries| entries.into_iter().find(|(known, _)| known == name));
            let found = reader.lookup(&at, name);
            assert_eq!(found, listed.map(|(_, node)| node), "{name:?} in {at:?}");
            let Some(node) = found else { break };
            assert!(reader.holds(&node) && !matches!(name, "" | "." | "..") && !name.contains(['/', '\0']));
            let number = nodes.number(&node);
            assert_eq!(nodes.node(number), Some(&node));
            if !other.holds(&node) {
                assert_eq!((other.list(&node), other.lookup(&at, name)), (None, None), "another's");
            }
            at = node;
        }
    }
});
