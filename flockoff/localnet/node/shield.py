"""The MEV shield: extrinsics that travel encrypted and are opened by whoever makes the block.

The SDK sends registrations only this way, and ``btcli`` stake trades too: the signed extrinsic is
encrypted to the key in ``MevShield.NextKey`` (ML-KEM-768, FIPS 203; its shared secret is the key of
XChaCha20-Poly1305) and carried by ``MevShield.submit_encrypted``; the block author puts it into the block
behind its carrier. A real author's key changes with each block. The local node's is always the same, made
from a fixed seed: there is nothing to protect.

Only what a receiver needs is here: making a key, and decapsulation without the check that the encapsulated
secret encrypts to the same bytes again. A message for another key still fails the Poly1305 tag. The check is
against an attacker who probes the secret key with altered messages, who has nothing to gain here.
"""

from dataclasses import dataclass
from hashlib import sha3_256, sha3_512, shake_128, shake_256

from Crypto.Cipher import ChaCha20_Poly1305

_Q, _N, _K = 3329, 256, 3
_ETA, _DU, _DV = 2, 10, 4
_KEY_HASH_BYTES, _NONCE_BYTES, _TAG_BYTES = 16, 24, 16

Polynomial = list[int]
"""256 coefficients modulo 3329."""


def _bit_reversed(index: int) -> int:
    return int(f"{index:07b}"[::-1], 2)


_ZETAS = [pow(17, _bit_reversed(index), _Q) for index in range(128)]
_GAMMAS = [pow(17, 2 * _bit_reversed(index) + 1, _Q) for index in range(128)]
_INVERSE_OF_128 = pow(128, -1, _Q)


CALL = ("MevShield", "submit_encrypted")
"""The call that carries an encrypted extrinsic as its ``ciphertext``."""


@dataclass(frozen=True)
class ShieldKey:
    """A key pair: the encoded public key, and the secret vector in NTT form."""

    public: bytes
    secret: tuple[Polynomial, ...]


def make_key(seed: bytes) -> ShieldKey:
    """The key pair that follows from a seed (K-PKE.KeyGen)."""
    expanded = sha3_512(seed + bytes([_K])).digest()
    rho, sigma = expanded[:32], expanded[32:]
    noise = [_ntt(_sample_noise(sigma, index)) for index in range(2 * _K)]
    secret, errors = noise[:_K], noise[_K:]
    public = b""
    for row in range(_K):
        total = errors[row]
        for column in range(_K):
            total = _add(total, _multiply(_sample_uniform(rho, column, row), secret[column]))
        public += _pack(total, 12)
    return ShieldKey(public + rho, tuple(secret))


def local_key() -> ShieldKey:
    """The local node's key."""
    return make_key(b"FLock OFF local node, not secret")


def open_envelope(key: ShieldKey, envelope: bytes) -> bytes:
    """The extrinsic inside: key hash, u16 length, encapsulated secret, nonce, ciphertext with its tag.

    Raises:
        ValueError: it is malformed, or was not made for this key.
    """
    start = _KEY_HASH_BYTES + 2
    end = start + int.from_bytes(envelope[_KEY_HASH_BYTES:start], "little")
    if end - start != 32 * (_DU * _K + _DV) or len(envelope) < end + _NONCE_BYTES + _TAG_BYTES:
        raise ValueError("not a shielded extrinsic")
    shared = _decapsulate(key, envelope[start:end])
    nonce, sealed = envelope[end : end + _NONCE_BYTES], envelope[end + _NONCE_BYTES :]
    cipher = ChaCha20_Poly1305.new(key=shared, nonce=nonce)
    return cipher.decrypt_and_verify(sealed[:-_TAG_BYTES], sealed[-_TAG_BYTES:])


def _decapsulate(key: ShieldKey, ciphertext: bytes) -> bytes:
    """The shared secret (K-PKE.Decrypt, then G over the message and the public key's hash)."""
    width = 32 * _DU
    product = [0] * _N
    for index in range(_K):
        part = _unpack(ciphertext[index * width : (index + 1) * width], _DU)
        product = _add(product, _multiply(key.secret[index], _ntt(_decompress(part, _DU))))
    masked = _decompress(_unpack(ciphertext[_K * width :], _DV), _DV)
    plain = [(v - w) % _Q for v, w in zip(masked, _inverse_ntt(product), strict=True)]
    message = _pack([(2 * c + _Q // 2) // _Q % 2 for c in plain], 1)
    return sha3_512(message + sha3_256(key.public).digest()).digest()[:32]


def _sample_uniform(rho: bytes, column: int, row: int) -> Polynomial:
    stream = shake_128(rho + bytes([column, row])).digest(3 * _N * 2)
    found: Polynomial = []
    for at in range(0, len(stream), 3):
        a, b, c = stream[at : at + 3]
        found += [value for value in (a + 256 * (b % 16), b // 16 + 16 * c) if value < _Q]
    return found[:_N]


def _sample_noise(sigma: bytes, index: int) -> Polynomial:
    bits = int.from_bytes(shake_256(sigma + bytes([index])).digest(64 * _ETA), "little")
    nibbles = [bits >> (4 * i) & 15 for i in range(_N)]
    return [((n & 1) + (n >> 1 & 1) - (n >> 2 & 1) - (n >> 3 & 1)) % _Q for n in nibbles]


def _ntt(values: Polynomial) -> Polynomial:
    f, index, length = list(values), 1, 128
    while length >= 2:
        for start in range(0, _N, 2 * length):
            zeta, index = _ZETAS[index], index + 1
            for j in range(start, start + length):
                t = zeta * f[j + length] % _Q
                f[j], f[j + length] = (f[j] + t) % _Q, (f[j] - t) % _Q
        length //= 2
    return f


def _inverse_ntt(values: Polynomial) -> Polynomial:
    f, index, length = list(values), 127, 2
    while length <= 128:
        for start in range(0, _N, 2 * length):
            zeta, index = _ZETAS[index], index - 1
            for j in range(start, start + length):
                t = f[j]
                f[j], f[j + length] = (t + f[j + length]) % _Q, zeta * (f[j + length] - t) % _Q
        length *= 2
    return [value * _INVERSE_OF_128 % _Q for value in f]


def _multiply(a: Polynomial, b: Polynomial) -> Polynomial:
    """The product of two polynomials in NTT form."""
    out: Polynomial = []
    for i, gamma in enumerate(_GAMMAS):
        a0, a1, b0, b1 = a[2 * i], a[2 * i + 1], b[2 * i], b[2 * i + 1]
        out += [(a0 * b0 + a1 * b1 * gamma) % _Q, (a0 * b1 + a1 * b0) % _Q]
    return out


def _add(a: Polynomial, b: Polynomial) -> Polynomial:
    return [(x + y) % _Q for x, y in zip(a, b, strict=True)]


def _pack(values: Polynomial, bits: int) -> bytes:
    number = sum(value << (bits * index) for index, value in enumerate(values))
    return number.to_bytes(32 * bits, "little")


def _unpack(data: bytes, bits: int) -> Polynomial:
    number = int.from_bytes(data, "little")
    return [number >> (bits * index) & ((1 << bits) - 1) for index in range(_N)]


def _decompress(values: Polynomial, bits: int) -> Polynomial:
    return [(value * _Q + (1 << (bits - 1))) >> bits for value in values]
