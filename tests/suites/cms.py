"""Envelopes by pyca/cryptography and pyasn1, which share no code with Reverie nor with OpenSSL's CMS.

cms.py seal KEYS <payload >message      signs with KEYS/signer.key, seals to KEYS/kem.pub
cms.py open KEYS <message >payload      verifies with KEYS/signer.pub, opens with KEYS/kem.key
"""
import hashlib
import os
import sys

from cryptography.hazmat.primitives import hashes, keywrap, padding, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pyasn1.codec.der import decoder, encoder
from pyasn1.type import tag, univ
from pyasn1_alt_modules import rfc5652, rfc9629

OID = univ.ObjectIdentifier
SHA256, ECDSA = OID("2.16.840.1.101.3.4.2.1"), OID("1.2.840.10045.4.3.2")
ML_KEM, HKDF_SHA256 = OID("2.16.840.1.101.3.4.4.2"), OID("1.2.840.113549.1.9.16.3.28")
WRAP, CBC = OID("2.16.840.1.101.3.4.1.45"), OID("2.16.840.1.101.3.4.1.42")


def read(path):
    with open(path, "rb") as file:
        return file.read()


def bits(key):
    """The bits of a public key, and its name (RFC 7093 §2, method 1)."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        raw = key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    else:
        raw = key.public_bytes_raw()
    return raw, hashlib.sha256(raw).digest()[:20]


def kek(secret, wrap, length):
    info = rfc9629.CMSORIforKEMOtherInfo()
    info["wrap"], info["kekLength"] = wrap, length
    return HKDF(hashes.SHA256(), length, salt=None, info=encoder.encode(info)).derive(secret)


def unpack(der, spec):
    value, rest = decoder.decode(der, asn1Spec=spec)
    assert not rest, "trailing bytes"
    return value


def open_message(keys, message):
    signer = serialization.load_pem_public_key(read(keys + "/signer.pub"))
    kem = serialization.load_pem_private_key(read(keys + "/kem.key"), None)
    info = unpack(message, rfc5652.ContentInfo())
    assert info["contentType"] == rfc5652.id_signedData
    signed = unpack(bytes(info["content"]), rfc5652.SignedData())
    assert not signed["certificates"].isValue and len(signed["signerInfos"]) == 1
    assert signed["encapContentInfo"]["eContentType"] == rfc5652.id_envelopedData
    content, one = bytes(signed["encapContentInfo"]["eContent"]), signed["signerInfos"][0]
    assert bytes(one["sid"]["subjectKeyIdentifier"]) == bits(signer)[1]
    attributes = {a["attrType"]: bytes(a["attrValues"][0]) for a in one["signedAttrs"]}
    assert unpack(attributes[rfc5652.id_contentType], OID()) == rfc5652.id_envelopedData
    assert bytes(unpack(attributes[rfc5652.id_messageDigest], univ.OctetString())) == hashlib.sha256(content).digest()
    # Signed with the tag of a SET in place of the [0] it is sent with (RFC 5652 §5.4).
    plain = rfc5652.SignedAttributes()
    plain.extend(one["signedAttrs"])
    signer.verify(bytes(one["signature"]), encoder.encode(plain), ec.ECDSA(hashes.SHA256()))

    enveloped = unpack(content, rfc5652.EnvelopedData())
    assert len(enveloped["recipientInfos"]) == 1
    ori = enveloped["recipientInfos"][0]["ori"]
    assert ori["oriType"] == rfc9629.id_ori_kem
    recipient = unpack(bytes(ori["oriValue"]), rfc9629.KEMRecipientInfo())
    assert bytes(recipient["rid"]["subjectKeyIdentifier"]) == bits(kem.public_key())[1]
    assert recipient["kem"]["algorithm"] == ML_KEM and recipient["kdf"]["algorithm"] == HKDF_SHA256
    assert recipient["wrap"]["algorithm"] == WRAP and int(recipient["kekLength"]) == 32
    secret = kem.decapsulate(bytes(recipient["kemct"]))
    cek = keywrap.aes_key_unwrap(kek(secret, recipient["wrap"], 32), bytes(recipient["encryptedKey"]))
    encrypted = enveloped["encryptedContentInfo"]
    assert encrypted["contentEncryptionAlgorithm"]["algorithm"] == CBC
    iv = unpack(bytes(encrypted["contentEncryptionAlgorithm"]["parameters"]), univ.OctetString())
    decryptor = Cipher(algorithms.AES256(cek), modes.CBC(bytes(iv))).decryptor()
    unpadder = padding.PKCS7(128).unpadder()
    padded = decryptor.update(bytes(encrypted["encryptedContent"])) + decryptor.finalize()
    return unpadder.update(padded) + unpadder.finalize()


def seal_message(keys, payload):
    signer = serialization.load_pem_private_key(read(keys + "/signer.key"), None)
    kem = serialization.load_pem_public_key(read(keys + "/kem.pub"))
    secret, ciphertext = kem.encapsulate()
    cek, iv = os.urandom(32), os.urandom(16)
    recipient = rfc9629.KEMRecipientInfo()
    recipient["version"] = 0
    recipient["rid"]["subjectKeyIdentifier"] = bits(kem)[1]
    recipient["kem"]["algorithm"], recipient["kemct"] = ML_KEM, ciphertext
    recipient["kdf"]["algorithm"], recipient["kekLength"] = HKDF_SHA256, 32
    recipient["wrap"]["algorithm"] = WRAP
    recipient["encryptedKey"] = keywrap.aes_key_wrap(kek(secret, recipient["wrap"], 32), cek)

    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES256(cek), modes.CBC(iv)).encryptor()
    enveloped = rfc5652.EnvelopedData()
    enveloped["version"] = 3
    info = rfc5652.RecipientInfo()
    info["ori"]["oriType"], info["ori"]["oriValue"] = rfc9629.id_ori_kem, encoder.encode(recipient)
    enveloped["recipientInfos"].append(info)
    content = enveloped["encryptedContentInfo"]
    content["contentType"] = rfc5652.id_data
    content["contentEncryptionAlgorithm"]["algorithm"] = CBC
    content["contentEncryptionAlgorithm"]["parameters"] = encoder.encode(univ.OctetString(iv))
    content["encryptedContent"] = encryptor.update(padder.update(payload) + padder.finalize()) + encryptor.finalize()
    inside = encoder.encode(enveloped)

    one = rfc5652.SignerInfo()
    one["version"] = 3
    one["sid"]["subjectKeyIdentifier"] = bits(signer.public_key())[1]
    one["digestAlgorithm"]["algorithm"], one["signatureAlgorithm"]["algorithm"] = SHA256, ECDSA
    plain = rfc5652.SignedAttributes()
    for oid, value in ((rfc5652.id_contentType, rfc5652.id_envelopedData),
                       (rfc5652.id_messageDigest, univ.OctetString(hashlib.sha256(inside).digest()))):
        attribute = rfc5652.Attribute()
        attribute["attrType"] = oid
        attribute["attrValues"].append(encoder.encode(value))
        plain.append(attribute)
    one["signature"] = signer.sign(encoder.encode(plain), ec.ECDSA(hashes.SHA256()))
    for attribute in plain:
        one["signedAttrs"].append(attribute)
    signed = rfc5652.SignedData()
    signed["version"] = 3
    digest = rfc5652.DigestAlgorithmIdentifier()
    digest["algorithm"] = SHA256
    signed["digestAlgorithms"].append(digest)
    signed["encapContentInfo"]["eContentType"] = rfc5652.id_envelopedData
    signed["encapContentInfo"]["eContent"] = univ.OctetString(inside).subtype(
        explicitTag=tag.Tag(tag.tagClassContext, tag.tagFormatSimple, 0))
    signed["signerInfos"].append(one)
    message = rfc5652.ContentInfo()
    message["contentType"], message["content"] = rfc5652.id_signedData, encoder.encode(signed)
    return encoder.encode(message)


if __name__ == "__main__":
    act = {"seal": seal_message, "open": open_message}[sys.argv[1]]
    sys.stdout.buffer.write(act(sys.argv[2], sys.stdin.buffer.read()))
