//! Revocation lists of issuers elsewhere: read and checked before any service sees them, and swapped no more often than
//! needed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reverie_core::id::NodeId;
use reverie_core::moment::Moment;
use reverie_core::renewal::Validity;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

/// A longer list is not passed on.
pub const MAX_LIST: usize = 512 << 10;

/// A revocation list of an issuer elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshList {
    /// Who holds the issuer.
    pub node: NodeId,
    /// DER.
    pub list: Arc<Vec<u8>>,
    /// RFC 5280 §5.2.3.
    pub number: u64,
    /// `thisUpdate` to `nextUpdate`.
    pub validity: Validity,
    /// Serials in it, hex.
    pub serials: Arc<BTreeSet<String>>,
}

impl MeshList {
    /// Reads a list and checks that the issuer, DER, has signed it. `None`: no service may see it.
    pub fn read(list: &[u8], issuer: &[u8], node: &NodeId) -> Option<Self> {
        if list.len() > MAX_LIST {
            return None;
        }
        let ([], parsed) = CertificateRevocationList::from_der(list).ok()? else { return None };
        let issuer = X509Certificate::from_der(issuer).ok()?.1;
        if parsed.issuer() != issuer.subject() || parsed.verify_signature(issuer.public_key()).is_err() {
            return None;
        }
        let number = parsed.crl_number()?.to_u64_digits();
        Some(Self {
            node: node.clone(),
            list: Arc::new(list.to_vec()),
            number: match number[..] {
                [] => 0,
                [number] => number,
                _ => return None,
            },
            validity: Validity {
                not_before: Moment::from_secs(parsed.last_update().timestamp()),
                not_after: Moment::from_secs(parsed.next_update()?.timestamp()),
            },
            serials: Arc::new(serials_in(&parsed)),
        })
    }

    /// It ends soon enough that services are to have another.
    fn is_worn(&self, now: Moment) -> bool {
        now >= self.validity.not_after.before(self.validity.life() / 4)
    }
}

/// Serials in a list, hex. `None`: it is none.
pub fn serials_of(list: &[u8]) -> Option<BTreeSet<String>> {
    Some(serials_in(&CertificateRevocationList::from_der(list).ok()?.1))
}

fn serials_in(list: &CertificateRevocationList<'_>) -> BTreeSet<String> {
    list.iter_revoked_certificates().map(|entry| data_encoding::HEXLOWER.encode(entry.raw_serial())).collect()
}

/// Which lists services are to have. One that only has later dates does not count until some list is worn, then all are taken:
/// lists are signed anew at half of their life, so services are told for their dates' sake a few times in that life, however
/// many hosts there are. One that is older than what was seen before is not taken: its issuer may want to hide something.
pub fn choose(
    before: &BTreeMap<String, MeshList>,
    mut fresh: BTreeMap<String, MeshList>,
    now: Moment,
) -> BTreeMap<String, MeshList> {
    for (issuer, list) in &mut fresh {
        if let Some(known) = before.get(issuer).filter(|known| known.number > list.number && !known.is_worn(now)) {
            *list = known.clone();
        }
    }
    let same = |(issuer, list): (&String, &MeshList)| {
        before.get(issuer).is_some_and(|known| known.serials == list.serials && known.node == list.node && !known.is_worn(now))
    };
    match before.len() == fresh.len() && fresh.iter().all(same) {
        true => before.clone(),
        false => fresh,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const START: Moment = Moment::from_secs(1_767_225_600);

    fn list(number: u64, at: Moment, serials: &[&str]) -> MeshList {
        MeshList {
            node: "b.example.org".parse().unwrap(),
            list: Arc::new(number.to_be_bytes().to_vec()),
            number,
            validity: Validity { not_before: at, not_after: at.after(30 * DAY) },
            serials: Arc::new(serials.iter().map(ToString::to_string).collect()),
        }
    }

    fn one(list: MeshList) -> BTreeMap<String, MeshList> {
        BTreeMap::from([("i".to_owned(), list)])
    }

    #[test]
    fn a_revocation_is_taken_at_once_and_later_dates_wait() {
        let before = one(list(1, START, &["aa"]));
        let later = choose(&before, one(list(2, START.after(15 * DAY), &["aa"])), START.after(15 * DAY));
        assert_eq!(later, before);
        let worn = choose(&before, one(list(2, START.after(15 * DAY), &["aa"])), START.after(23 * DAY));
        assert_eq!(worn["i"].number, 2);
        let revoked = choose(&before, one(list(2, START.after(DAY), &["aa", "bb"])), START.after(DAY));
        assert_eq!(revoked["i"].number, 2);
        assert!(choose(&before, BTreeMap::new(), START).is_empty());
    }

    #[test]
    fn an_older_list_does_not_hide_what_a_newer_one_named() {
        let before = one(list(7, START, &["aa"]));
        let replayed = choose(&before, one(list(6, START, &[])), START.after(DAY));
        assert_eq!(replayed, before);
    }

    #[test]
    fn a_thousand_hosts_have_services_told_a_few_times_a_month_for_dates_alone() {
        let mut fresh: BTreeMap<String, MeshList> =
            (0..1000).map(|host| (format!("{host:04}"), list(1, START.before(DAY * (host % 15)), &[]))).collect();
        let (mut published, mut told) = (fresh.clone(), 0);
        for hour in 0..24 * 60u32 {
            let now = START.after(Duration::from_secs(3600) * hour);
            for known in fresh.values_mut().filter(|known| now >= known.validity.half_life()) {
                *known = list(known.number + 1, now, &[]);
            }
            let chosen = choose(&published, fresh.clone(), now);
            assert!(chosen.values().all(|known| known.validity.not_after > now.after(7 * DAY)));
            told += u32::from(chosen != published);
            published = chosen;
        }
        assert!((1..=8).contains(&told), "{told} times in 60 days");
    }
}
