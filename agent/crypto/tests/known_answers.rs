//! Answers that others published, from both backends.

use data_encoding::HEXLOWER_PERMISSIVE;
use reverie_core::mesh::crypto::{PublicOperations, Signer, SigningPublicKey};
use reverie_crypto::aws::Aws;
use reverie_crypto::pure::{Pure, SigningKey};

pub(crate) fn hex<const N: usize>(text: &str) -> [u8; N] {
    HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).unwrap().try_into().unwrap()
}

fn both() -> [Box<dyn PublicOperations>; 2] {
    [Box::new(Aws), Box::new(Pure::from_seed([0; 32]))]
}

#[test]
fn key_wrap_is_that_of_rfc_3394() {
    // §4.6: 256 bits of key data with a 256-bit KEK.
    let kek = hex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    let key = hex("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f");
    let wrapped = hex("28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21");
    for ops in both() {
        assert_eq!(ops.wrap(&kek, &key).unwrap(), wrapped);
        assert_eq!(*ops.unwrap(&kek, &wrapped).unwrap(), key);
    }
}

#[test]
fn cbc_is_that_of_sp_800_38a() {
    // F.2.5, CBC-AES256, first block.
    let key = hex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
    let iv = hex("000102030405060708090a0b0c0d0e0f");
    for ops in both() {
        let cipher = ops.encrypt(&key, &iv, &hex::<16>("6bc1bee22e409f96e93d7e117393172a")).unwrap();
        assert_eq!(cipher[..16], hex::<16>("f58c4c04d6e5f1ba779eabfb5f7bfbd6"));
    }
}

#[test]
fn ecdsa_is_that_of_rfc_6979() {
    // A.2.5, SHA-256, message "sample".
    let public = "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb67903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";
    let public = SigningPublicKey(hex(public));
    let signature = hex(
        "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
    );
    for ops in both() {
        assert_eq!(ops.verify(&public, b"sample", &signature), Ok(()));
    }
    // RFC 5208 around the RFC's secret key; the pure backend's signatures are deterministic.
    let secret = "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721";
    let der = [
        &hex::<36>("308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420")[..],
        &hex::<32>(secret),
        &hex::<5>("a144034200"),
        &public.0,
    ]
    .concat();
    let key = SigningKey::from_pkcs8_der(&der).unwrap();
    assert_eq!(*key.public_key(), public);
    assert_eq!(key.sign(b"sample").unwrap(), signature);
}
