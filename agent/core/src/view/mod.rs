//! The file view: what one process sees of `certs/` and `secrets/`, and nothing of what is not its own.
//!
//! ```text
//! certs/self          a link to the caller's default identity
//! certs/NAME/tls.crt  and the other files of each identity the caller has
//! secrets/NAME        each secret the caller may read
//! ```
//!
//! What a caller may not have does not exist for it. The tree is the same for everyone in shape; a [`Sight`] says which
//! branches one caller has.

mod nodes;

pub use nodes::{Nodes, ROOT};

use serde::{Deserialize, Serialize};

use crate::certificate_file::CertificateFile;
use crate::id::{IdentityName, SecretName};

/// The caller's default identity, under `certs/`. No identity can have this name: a link stands there.
pub const SELF: &str = "self";

/// What can be opened.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ViewedFile {
    /// Of an identity.
    Certificate(IdentityName, CertificateFile),
    /// The value of a secret.
    Secret(SecretName),
}

impl ViewedFile {
    /// Permission bits: its reader is shown as its owner.
    pub fn mode(&self) -> u16 {
        match self {
            Self::Certificate(_, file) if !file.is_private() => 0o444,
            _ => 0o400,
        }
    }
}

/// A place in the tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// The mount point.
    Root,
    /// `certs`
    Certificates,
    /// `secrets`
    Secrets,
    /// `certs/self`
    Default,
    /// `certs/NAME`
    Identity(IdentityName),
    /// A file.
    File(ViewedFile),
}

impl Node {
    /// Which file it is, if it says the same to every reader.
    pub fn shared(&self) -> Option<CertificateFile> {
        match self {
            Self::File(ViewedFile::Certificate(_, file)) => Some(*file).filter(|file| file.is_shared()),
            _ => None,
        }
    }
}

/// An identity that the caller has, with the sizes of its files in the order of [`CertificateFile::ALL`]; 0 for what is made
/// when it is opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenIdentity {
    /// Which.
    pub name: IdentityName,
    /// Bytes of each file.
    pub sizes: [u64; CertificateFile::ALL.len()],
}

/// A secret that the caller may read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenSecret {
    /// Which.
    pub name: SecretName,
    /// Bytes of its value.
    pub size: u64,
}

/// What one caller sees.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// Its identities, the default first.
    pub identities: Vec<SeenIdentity>,
    /// Its secrets.
    pub secrets: Vec<SeenSecret>,
}

impl Sight {
    fn identity(&self, name: &IdentityName) -> Option<&SeenIdentity> {
        self.identities.iter().find(|seen| seen.name == *name)
    }

    /// True if the node exists for this caller.
    pub fn holds(&self, node: &Node) -> bool {
        match node {
            Node::Root | Node::Certificates | Node::Secrets => true,
            Node::Default => !self.identities.is_empty(),
            Node::Identity(name) | Node::File(ViewedFile::Certificate(name, _)) => self.identity(name).is_some(),
            Node::File(ViewedFile::Secret(name)) => self.secrets.iter().any(|seen| seen.name == *name),
        }
    }

    /// What lies under `name` in a directory, for this caller.
    pub fn lookup(&self, parent: &Node, name: &str) -> Option<Node> {
        let node = match parent {
            Node::Root => match name {
                "certs" => Node::Certificates,
                "secrets" => Node::Secrets,
                _ => return None,
            },
            Node::Certificates if name == SELF => Node::Default,
            Node::Certificates => Node::Identity(name.parse().ok()?),
            Node::Secrets => Node::File(ViewedFile::Secret(name.parse().ok()?)),
            Node::Identity(identity) => {
                let file = CertificateFile::ALL.into_iter().find(|file| file.name() == name)?;
                Node::File(ViewedFile::Certificate(identity.clone(), file))
            }
            Node::Default | Node::File(_) => return None,
        };
        self.holds(&node).then_some(node)
    }

    /// What a directory holds for this caller, in one order; `None` for what is none.
    pub fn list(&self, directory: &Node) -> Option<Vec<(String, Node)>> {
        if !self.holds(directory) {
            return None;
        }
        match directory {
            Node::Root => Some(vec![("certs".to_owned(), Node::Certificates), ("secrets".to_owned(), Node::Secrets)]),
            Node::Certificates => {
                let own = (!self.identities.is_empty()).then(|| (SELF.to_owned(), Node::Default));
                let named = self.identities.iter().map(|seen| (seen.name.to_string(), Node::Identity(seen.name.clone())));
                Some(own.into_iter().chain(named).collect())
            }
            Node::Secrets => {
                let file = |seen: &SeenSecret| (seen.name.to_string(), Node::File(ViewedFile::Secret(seen.name.clone())));
                Some(self.secrets.iter().map(file).collect())
            }
            Node::Identity(name) => {
                let file =
                    |file: CertificateFile| (file.name().to_owned(), Node::File(ViewedFile::Certificate(name.clone(), file)));
                Some(CertificateFile::ALL.into_iter().map(file).collect())
            }
            Node::Default | Node::File(_) => None,
        }
    }

    /// Where `certs/self` leads.
    pub fn default_identity(&self) -> Option<&IdentityName> {
        self.identities.first().map(|seen| &seen.name)
    }

    /// Bytes of a file.
    pub fn size(&self, file: &ViewedFile) -> u64 {
        match file {
            ViewedFile::Certificate(name, file) => {
                let index = CertificateFile::ALL.iter().position(|known| known == file);
                index.and_then(|index| self.identity(name)?.sizes.get(index).copied()).unwrap_or(0)
            }
            ViewedFile::Secret(name) => self.secrets.iter().find(|seen| seen.name == *name).map_or(0, |seen| seen.size),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(identities: &[&str], secrets: &[&str]) -> Sight {
        Sight {
            identities: identities
                .iter()
                .map(|name| SeenIdentity { name: name.parse().unwrap(), sizes: [1, 2, 3, 4, 5, 6] })
                .collect(),
            secrets: secrets.iter().map(|name| SeenSecret { name: name.parse().unwrap(), size: 9 }).collect(),
        }
    }

    #[test]
    fn what_is_another_callers_does_not_exist_wherever_it_is_asked_for() {
        let (mine, theirs) = (sight(&["web"], &["db"]), sight(&["mail"], &[]));
        let node = mine.lookup(&Node::Certificates, "web").unwrap();
        let key = mine.lookup(&node, "tls.key").unwrap();
        assert!(mine.holds(&key) && mine.list(&node).unwrap().contains(&("tls.key".to_owned(), key.clone())));
        // By name, by the node another was given, and in the list.
        assert_eq!(theirs.lookup(&Node::Certificates, "web"), None);
        assert_eq!(theirs.lookup(&node, "tls.key"), None);
        assert!(!theirs.holds(&node) && !theirs.holds(&key));
        assert_eq!(theirs.list(&node), None);
        assert_eq!(theirs.lookup(&Node::Secrets, "db"), None);
        assert_eq!(theirs.list(&Node::Certificates).unwrap().len(), 2, "self and mail");
    }

    #[test]
    fn who_has_nothing_sees_two_empty_folders() {
        let nothing = Sight::default();
        assert_eq!(nothing.list(&Node::Root).unwrap().len(), 2);
        assert_eq!(nothing.list(&Node::Certificates), Some(vec![]));
        assert_eq!(nothing.list(&Node::Secrets), Some(vec![]));
        assert_eq!(nothing.lookup(&Node::Certificates, SELF), None);
    }

    #[test]
    fn everything_listed_is_found_and_nothing_else() {
        let sight = sight(&["web", "mail"], &["db", "api"]);
        let mut open = vec![Node::Root];
        while let Some(directory) = open.pop() {
            for (name, node) in sight.list(&directory).unwrap() {
                assert_eq!(sight.lookup(&directory, &name), Some(node.clone()), "{name}");
                assert_eq!(sight.lookup(&node, ".."), None);
                if sight.list(&node).is_some() {
                    open.push(node);
                }
            }
            for odd in ["", ".", "..", "../certs", "tls.key/", "TLS.KEY", "web\0", "nothing"] {
                assert_eq!(sight.lookup(&directory, odd), None, "{odd:?}");
            }
        }
        assert_eq!(sight.default_identity().unwrap().as_str(), "web");
    }

    #[test]
    fn what_holds_a_key_is_for_its_owner_alone() {
        let modes = |name: &str| CertificateFile::ALL.map(|file| ViewedFile::Certificate(name.parse().unwrap(), file).mode());
        assert_eq!(modes("web"), [0o444, 0o400, 0o400, 0o444, 0o444, 0o444]);
        assert_eq!(ViewedFile::Secret("db".parse().unwrap()).mode(), 0o400);
    }
}
