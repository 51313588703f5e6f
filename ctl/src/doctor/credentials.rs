//! Names that the service manager cannot ask for: its address has room for so many bytes (systemd.exec(5), `LoadCredential=`).

use reverie_core::certificate_file::CertificateFile;
use reverie_core::config::{Config, Identity};
use reverie_core::credential::{MAX_NAMES, Wanted};

/// Credentials of declared units that do not fit, each with where the identity is declared.
pub(super) fn unaskable(config: &Config) -> Vec<String> {
    let mut found = vec![];
    for Identity { name, matches, declared_at, .. } in &config.identities {
        let Some(unit) = &matches.unit else { continue };
        let own = Wanted::Identity(name.clone(), CertificateFile::Key).to_string();
        if own.starts_with("secret.") {
            found.push(format!("{own} ({declared_at}): that is the name of a secret"));
        }
        let secrets = config.secrets.iter().filter(|secret| secret.allow.contains(name));
        let secrets = secrets.map(|secret| Wanted::Secret(secret.name.clone()).to_string());
        for id in std::iter::once(own.clone()).chain(secrets) {
            let length = unit.len() + id.len();
            if length > MAX_NAMES {
                found.push(format!("{id} in {unit} ({declared_at}): {length} bytes together, at most {MAX_NAMES}"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use reverie_core::config::{Source, parse};

    use super::*;

    #[test]
    fn what_does_not_fit_into_an_address_is_found() {
        let text = |unit: &str| {
            format!(
                "trust_domain = \"example.org\"\n[[identity]]\nname = \"job\"\nmatch = {{ unit = \"{unit}.service\" }}\n\
                 [[identity]]\nname = \"secret.x\"\nmatch = {{ uid = 1 }}\n\
                 [[secret]]\nname = \"token\"\nallow = [\"job\"]\n"
            )
        };
        let of = |unit: &str| unaskable(&parse(Source { file: "t", text: &text(unit) }, &[]).unwrap());
        // 83 less `.service` and `secret.token`.
        assert_eq!(of(&"u".repeat(63)), [""; 0]);
        let found = of(&"u".repeat(64));
        assert!(found.len() == 1 && found[0].contains("secret.token") && found[0].contains("84 bytes"), "{found:?}");
        assert_eq!(of(&"u".repeat(69)).len(), 2);
    }
}
