//! The worked example of RFC 9936 (ML-KEM-512, AES-128, AuthEnvelopedData): other parameters than ours, the same steps.
//! It is not copied here: where the folder is not beside the checkout, our own vectors (made with OpenSSL 4) stand alone.

use std::path::{Path, PathBuf};

use aes_kw::KwAes128;
use aes_kw::aes::cipher::KeyInit;
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use der::{Decode, Encode};
use ml_kem::kem::Decapsulate;
use ml_kem::ml_kem_512::DecapsulationKey;
use reverie_core::mesh::crypto::PublicOperations;
use reverie_core::mesh::envelope::wire::{KemOtherInfo, KemRecipient};
use reverie_crypto::aws::Aws;
use reverie_crypto::pure::Pure;

use crate::known_answers::hex;
use crate::tree::Tree;
use crate::vectors;

fn folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors/rfc9936");
    let folder = std::env::var_os("RFC9936_DIR").map_or(beside, PathBuf::from);
    folder.exists().then_some(folder)
}

fn pem(path: PathBuf) -> Vec<u8> {
    der::pem::decode_vec(&std::fs::read(path).unwrap()).unwrap().1
}

#[test]
fn the_example_of_the_rfc_opens_step_by_step() {
    vectors::open_all();
    let Some(folder) = folder() else { return };
    let text = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();

    // ContentInfo → [0] → AuthEnvelopedData: version, recipientInfos, authEncryptedContentInfo, mac.
    let mut message = Tree::of(&pem(folder.join("ML-KEM-512.cms")));
    let recipient = message.at(&[1, 0, 1, 0, 1]).to_der();
    let recipient = KemRecipient::from_der(&recipient).unwrap();
    assert_eq!(recipient.key.0, hex::<20>(&text("ML-KEM-512.keyid")));

    let key = pem(folder.join("ML-KEM-512-seed.priv"));
    let seed: [u8; 64] = key[key.len() - 64..].try_into().unwrap();
    let ciphertext: [u8; 768] = recipient.ciphertext.0.try_into().unwrap();
    let secret: [u8; 32] = DecapsulationKey::from_seed(seed.into()).decapsulate(&ciphertext.into()).into();
    assert_eq!(secret, hex(&text("shared_secret.txt")));

    let info = KemOtherInfo { wrap: recipient.wrap, kek_length: recipient.kek_length }.to_der().unwrap();
    assert_eq!(info, hex::<18>(&text("ori_info.txt")));

    // HKDF's first 16 bytes do not depend on how many are asked for.
    let kek = Aws.hkdf(&secret, &info).unwrap();
    assert_eq!(*kek, *Pure::from_seed([0; 32]).hkdf(&secret, &info).unwrap());
    assert_eq!(kek[..16], hex::<16>(&text("kek.txt")));

    assert_eq!(recipient.wrapped_key.0, hex::<24>(&text("encrypted_cek.txt")));
    let (mut cek, kek): ([u8; 16], [u8; 16]) = ([0; 16], hex(&text("kek.txt")));
    KwAes128::new(&kek.into()).unwrap_key(recipient.wrapped_key.0, &mut cek).unwrap();
    assert_eq!(cek, hex(&text("cek.txt")));

    let nonce = Nonce::try_assume_unique_for_key(&message.at(&[1, 0, 2, 1, 1, 0]).bytes).unwrap();
    let mut content = [message.at(&[1, 0, 2, 2]).bytes.clone(), message.at(&[1, 0, 3]).bytes.clone()].concat();
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &cek).unwrap());
    let plain = key.open_in_place(nonce, Aad::empty(), &mut content).unwrap();
    assert_eq!(plain, text("plaintext.txt").as_bytes());
}
