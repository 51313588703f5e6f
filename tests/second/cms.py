"""SignedData(EnvelopedData) with an ML-KEM-768 recipient (RFC 5652, RFC 9629, RFC 9936), by pyasn1 and pyca alone.

cms.py seal KEYS <payload >message      signs with KEYS/signer.key, seals to KEYS/kem.pub
cms.py open KEYS <message >payload      verifies with KEYS/signer.pub, opens with KEYS/kem.key
"""
import hashlib
import os
import sys

from cryptography.hazmat.primitives import hashes, padding, serialization
from cryptography.hazmat.primitives.asymmetric import ec, mlkem
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap
from pyasn1.codec.der import decoder, encoder
from pyasn1.type import univ
from pyasn1_alt_modules import rfc5652, rfc9629

ML_KEM_768 = univ.ObjectIdentifier("2.16.840.1.101.3.4.4.2")
HKDF_SHA256 = univ.ObjectIdentifier("1.2.840.113549.1.9.16.3.28")
AES256_WRAP = univ.ObjectIdentifier("2.16.840.1.101.3.4.1.45")
AES256_CBC = univ.ObjectIdentifier("2.16.840.1.101.3.4.1.42")
SHA256 = univ.ObjectIdentifier("2.16.840.1.101.3.4.2.1")
ECDSA_SHA256 = univ.ObjectIdentifier("1.2.840.10045.4.3.2")


def point(public):
    return public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def kid(public_key_bits):
    """Leftmost 160 bits of the SHA-256 of the public key bits (RFC 7093)."""
    return hashlib.sha256(public_key_bits).digest()[:20]


def octets(asn1):
    return bytes(asn1)


def kek_info():
    info = rfc9629.CMSORIforKEMOtherInfo()
    info["wrap"]["algorithm"] = AES256_WRAP
    info["kekLength"] = 32
    return encoder.encode(info)


def seal(plain, signer, recipient, change=None):
    """DER. `change(signed_data)` may spoil it before it is encoded."""
    secret, ciphertext = recipient.encapsulate()
    kek = HKDF(hashes.SHA256(), 32, salt=None, info=kek_info()).derive(secret)
    key, iv = os.urandom(32), os.urandom(16)
    kem = rfc9629.KEMRecipientInfo()
    kem["version"] = 0
    kem["rid"]["subjectKeyIdentifier"] = kid(recipient.public_bytes_raw())
    kem["kem"]["algorithm"] = ML_KEM_768
    kem["kemct"] = ciphertext
    kem["kdf"]["algorithm"] = HKDF_SHA256
    kem["kekLength"] = 32
    kem["wrap"]["algorithm"] = AES256_WRAP
    kem["encryptedKey"] = aes_key_wrap(kek, key)
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES256(key), modes.CBC(iv)).encryptor()
    content = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    enveloped = rfc5652.EnvelopedData()
    enveloped["version"] = 3
    info = rfc5652.RecipientInfo()
    info["ori"]["oriType"] = rfc9629.id_ori_kem
    info["ori"]["oriValue"] = univ.Any(encoder.encode(kem))
    enveloped["recipientInfos"][0] = info
    encrypted = enveloped["encryptedContentInfo"]
    encrypted["contentType"] = rfc5652.id_data
    encrypted["contentEncryptionAlgorithm"]["algorithm"] = AES256_CBC
    encrypted["contentEncryptionAlgorithm"]["parameters"] = univ.Any(encoder.encode(univ.OctetString(iv)))
    encrypted["encryptedContent"] = content
    return sign(encoder.encode(enveloped), signer, change)


def sign(enveloped, signer, change=None):
    """The outer SignedData around the DER of an EnvelopedData."""
    attributes = rfc5652.SignedAttributes()
    for index, (kind, value) in enumerate(
        [
            (rfc5652.id_contentType, encoder.encode(rfc5652.id_envelopedData)),
            (rfc5652.id_messageDigest, encoder.encode(univ.OctetString(hashlib.sha256(enveloped).digest()))),
        ]
    ):
        attributes[index]["attrType"] = kind
        attributes[index]["attrValues"][0] = univ.Any(value)
    to_sign = encoder.encode(attributes)
    signed = rfc5652.SignedData()
    signed["version"] = 3
    signed["digestAlgorithms"][0]["algorithm"] = SHA256
    signed["encapContentInfo"]["eContentType"] = rfc5652.id_envelopedData
    signed["encapContentInfo"]["eContent"] = enveloped
    info = signed["signerInfos"][0]
    info["version"] = 3
    info["sid"]["subjectKeyIdentifier"] = kid(point(signer.public_key()))
    info["digestAlgorithm"]["algorithm"] = SHA256
    for index, attribute in enumerate(attributes):
        info["signedAttrs"][index] = attribute
    info["signatureAlgorithm"]["algorithm"] = ECDSA_SHA256
    info["signature"] = signer.sign(to_sign, ec.ECDSA(hashes.SHA256()))
    if change:
        change(signed)
    outer = rfc5652.ContentInfo()
    outer["contentType"] = rfc5652.id_signedData
    outer["content"] = univ.Any(encoder.encode(signed))
    return encoder.encode(outer)


def named(key):
    """Changes what is signed: another key is said to have done it."""

    def change(signed):
        signed["signerInfos"][0]["sid"]["subjectKeyIdentifier"] = kid(point(key.public_key()))

    return change


def open_envelope(der, signer, private):
    """The plaintext; raises if anything is not as it must be. `signer` is the pinned public key."""
    outer, rest = decoder.decode(der, asn1Spec=rfc5652.ContentInfo())
    assert not rest and outer["contentType"] == rfc5652.id_signedData
    signed, rest = decoder.decode(outer["content"], asn1Spec=rfc5652.SignedData())
    assert not rest and len(signed["signerInfos"]) == 1 and not signed["certificates"].hasValue()
    assert signed["encapContentInfo"]["eContentType"] == rfc5652.id_envelopedData
    enveloped = octets(signed["encapContentInfo"]["eContent"])
    info = signed["signerInfos"][0]
    assert octets(info["sid"]["subjectKeyIdentifier"]) == kid(point(signer))
    attributes = rfc5652.SignedAttributes()
    values = {}
    for index, attribute in enumerate(info["signedAttrs"]):
        attributes[index] = attribute
        values[attribute["attrType"]] = octets(attribute["attrValues"][0])
    assert values[rfc5652.id_contentType] == encoder.encode(rfc5652.id_envelopedData)
    assert values[rfc5652.id_messageDigest] == encoder.encode(univ.OctetString(hashlib.sha256(enveloped).digest()))
    signer.verify(octets(info["signature"]), encoder.encode(attributes), ec.ECDSA(hashes.SHA256()))
    data, rest = decoder.decode(enveloped, asn1Spec=rfc5652.EnvelopedData())
    assert not rest and len(data["recipientInfos"]) == 1
    ori = data["recipientInfos"][0]["ori"]
    assert ori["oriType"] == rfc9629.id_ori_kem
    kem, rest = decoder.decode(ori["oriValue"], asn1Spec=rfc9629.KEMRecipientInfo())
    assert not rest and kem["kem"]["algorithm"] == ML_KEM_768 and kem["kdf"]["algorithm"] == HKDF_SHA256
    assert kem["wrap"]["algorithm"] == AES256_WRAP and int(kem["kekLength"]) == 32
    assert octets(kem["rid"]["subjectKeyIdentifier"]) == kid(private.public_key().public_bytes_raw())
    kek = HKDF(hashes.SHA256(), 32, salt=None, info=kek_info()).derive(private.decapsulate(octets(kem["kemct"])))
    key = aes_key_unwrap(kek, octets(kem["encryptedKey"]))
    encrypted = data["encryptedContentInfo"]
    assert encrypted["contentEncryptionAlgorithm"]["algorithm"] == AES256_CBC
    iv, _ = decoder.decode(encrypted["contentEncryptionAlgorithm"]["parameters"], asn1Spec=univ.OctetString())
    decryptor = Cipher(algorithms.AES256(key), modes.CBC(octets(iv))).decryptor()
    unpadder = padding.PKCS7(128).unpadder()
    padded = decryptor.update(octets(encrypted["encryptedContent"])) + decryptor.finalize()
    return unpadder.update(padded) + unpadder.finalize()


def kem_key():
    return mlkem.MLKEM768PrivateKey.generate()


def signing_key():
    return ec.generate_private_key(ec.SECP256R1())


def main(act, keys):
    """With files as `agentctl mesh envelope keygen` makes them."""
    def read(name):
        with open(os.path.join(keys, name), "rb") as file:
            return file.read()

    def private(name):
        return serialization.load_pem_private_key(read(name), None)

    def public(name):
        return serialization.load_pem_public_key(read(name))

    given = sys.stdin.buffer.read()
    if act == "seal":
        return seal(given, private("signer.key"), public("kem.pub"))
    if act == "open":
        return open_envelope(given, public("signer.pub"), private("kem.key"))
    sys.exit(__doc__)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.stdout.buffer.write(main(*sys.argv[1:]))
