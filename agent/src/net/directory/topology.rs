//! Who takes part in FreeIPA's replication, by its directory.

use std::collections::BTreeSet;

use ldap3::{Scope, SearchEntry};
use reverie_core::ipc::net::TopologySettings;

use super::connection::{OPERATION_DEADLINE, connect};

/// More servers than this are no FreeIPA deployment (its own limit is 60).
const MAX_HOSTS: usize = 2000;
/// More segments than this neither.
const MAX_SEGMENTS: usize = 20_000;

/// The host names of the servers that replicate the domain, lower-case, in order.
///
/// A host must be a master, and an end of a segment of the suffix `domain`: a master that was cut out of the topology is not
/// in it, and a segment that was left behind admits nobody. A single master has no segments.
pub async fn look_up(settings: &TopologySettings) -> Result<Vec<String>, String> {
    let mut ldap = connect(settings).await?;
    let suffix = &settings.suffix;
    let below = format!("cn=masters,cn=ipa,cn=etc,{suffix}");
    let masters = search(&mut ldap, &below, "(objectClass=*)", &["cn"]).await?;
    let below = format!("cn=domain,cn=topology,cn=ipa,cn=etc,{suffix}");
    let ends = ["ipaReplTopoSegmentLeftNode", "ipaReplTopoSegmentRightNode"];
    let segments = search(&mut ldap, &below, "(objectClass=ipaReplTopoSegment)", &ends).await?;
    let _ = ldap.unbind().await;
    in_topology(masters.iter().map(String::as_str), segments.iter().map(String::as_str))
}

fn in_topology<'a>(masters: impl Iterator<Item = &'a str>, ends: impl Iterator<Item = &'a str>) -> Result<Vec<String>, String> {
    let masters: BTreeSet<String> = masters.map(str::to_ascii_lowercase).collect();
    let ends: BTreeSet<String> = ends.map(str::to_ascii_lowercase).collect();
    match (masters.len(), ends.is_empty()) {
        (0, _) => {
            Err("the directory names no IPA server: is `gossip.ipa_suffix` right, and may the bind name read cn=etc?".into())
        }
        (1, true) => Ok(masters.into_iter().collect()),
        (_, true) => Err("the directory names several IPA servers and no topology segment: may the bind name read \
                          cn=topology,cn=ipa,cn=etc?"
            .into()),
        (_, false) => Ok(masters.intersection(&ends).cloned().collect()),
    }
}

/// All values of these attributes of the entries right below `base`.
async fn search(ldap: &mut ldap3::Ldap, base: &str, filter: &str, attributes: &[&str]) -> Result<Vec<String>, String> {
    let failed = |error: ldap3::LdapError| format!("the search below {base} failed: {error}");
    let mut stream = ldap
        .with_timeout(OPERATION_DEADLINE)
        .streaming_search(base, Scope::OneLevel, filter, attributes)
        .await
        .map_err(failed)?;
    let mut values = vec![];
    while let Some(entry) = tokio::time::timeout(OPERATION_DEADLINE, stream.next())
        .await
        .map_err(|_| format!("the search below {base} was not answered within {} s", OPERATION_DEADLINE.as_secs()))?
        .map_err(failed)?
    {
        let entry = SearchEntry::construct(entry);
        // A server may spell attributes as it likes (RFC 4512 §2.5).
        let asked = |name: &String| attributes.iter().any(|attribute| attribute.eq_ignore_ascii_case(name));
        values.extend(entry.attrs.into_iter().filter(|(name, _)| asked(name)).flat_map(|(_, values)| values));
        if values.len() > MAX_SEGMENTS.max(MAX_HOSTS) {
            return Err(format!("there are more than {} names below {base}", MAX_SEGMENTS.max(MAX_HOSTS)));
        }
    }
    let result = stream.finish().await;
    match result.rc {
        0 => Ok(values),
        // There is no such branch: a server that is no FreeIPA.
        32 => Err(format!("there is no {base} in the directory: is `gossip.ipa_suffix` right?")),
        _ => Err(format!("the search below {base} failed: {result}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(masters: &[&str], ends: &[&str]) -> Result<Vec<String>, String> {
        in_topology(masters.iter().copied(), ends.iter().copied())
    }

    #[test]
    fn a_master_without_a_segment_and_a_segment_without_a_master_admit_nobody() {
        let hosts = topology(
            &["Ipa1.example.org", "ipa2.example.org", "ipa3.example.org"],
            &["ipa1.example.org", "IPA2.example.org", "gone.example.org"],
        );
        assert_eq!(hosts.unwrap(), ["ipa1.example.org", "ipa2.example.org"]);
    }

    #[test]
    fn a_single_master_needs_no_segment() {
        assert_eq!(topology(&["ipa1.example.org"], &[]).unwrap(), ["ipa1.example.org"]);
    }

    #[test]
    fn what_the_bind_name_may_not_read_is_not_taken_for_an_empty_topology() {
        assert!(topology(&[], &[]).unwrap_err().contains("ipa_suffix"));
        assert!(topology(&["a.example.org", "b.example.org"], &[]).unwrap_err().contains("topology"));
    }
}
