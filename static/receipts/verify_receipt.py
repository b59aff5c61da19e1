#!/usr/bin/env python3
"""Check a Viewbox receipt offline: python3 verify_receipt.py receipt.json [KEY FINGERPRINT]

Needs Python 3.9 or later and nothing else. It proves that the record in the receipt is, byte for byte, one leaf of a
sealed Merkle tree (RFC 6962), and that the installation whose key has the printed fingerprint signed that (Ed25519,
RFC 8032). Compare the fingerprint with the one the clinic published, or give it as second argument.
"""

import base64
import datetime
import hashlib
import json
import sys

P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def recover_x(y, sign):
    xx = (y * y - 1) * pow(D * y * y + 1, P - 2, P)
    x = pow(xx, (P + 3) // 8, P)
    if (x * x - xx) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - xx) % P or (x == 0 and sign):
        raise ValueError("not a point of the curve")
    return P - x if x & 1 != sign else x


def decode_point(data):
    value = int.from_bytes(data, "little")
    y, sign = value & ((1 << 255) - 1), value >> 255
    if y >= P:
        raise ValueError("not a point of the curve")
    x = recover_x(y, sign)
    return (x, y, 1, x * y % P)


def add(a, b):
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    i, j, k, m = f - e, h - g, h + g, f + e
    return (i * j % P, k * m % P, j * k % P, i * m % P)


def multiply(number, point):
    result = (0, 1, 1, 0)
    while number:
        if number & 1:
            result = add(result, point)
        point, number = add(point, point), number >> 1
    return result


def is_signed(public_key, message, signature):
    """Ed25519 verification, RFC 8032 section 5.1.7."""
    if len(public_key) != 32 or len(signature) != 64:
        return False
    try:
        key, commitment = decode_point(public_key), decode_point(signature[:32])
    except ValueError:
        return False
    scalar = int.from_bytes(signature[32:], "little")
    if scalar >= Q:
        return False
    base_y = 4 * pow(5, P - 2, P) % P
    base_x = recover_x(base_y, 0)
    base = (base_x, base_y, 1, base_x * base_y % P)
    challenge = int.from_bytes(hashlib.sha512(signature[:32] + public_key + message).digest(), "little") % Q
    left, right = multiply(scalar, base), add(commitment, multiply(challenge, key))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and (left[1] * right[2] - right[1] * left[2]) % P == 0


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def root_of(leaf, position, count, path):
    """The root that follows from a leaf and its path, RFC 6962 section 2.1.1."""
    node, index, last, rest = leaf, position, count - 1, list(path)
    while last:
        if index & 1:
            node = hashlib.sha256(b"\x01" + rest.pop(0) + node).digest()
        elif index < last:
            node = hashlib.sha256(b"\x01" + node + rest.pop(0)).digest()
        index, last = index >> 1, last >> 1
    if rest:
        raise ValueError("the path is too long")
    return node


def check(receipt):
    """Return the fingerprint of the key that signed; raise ValueError with the reason otherwise."""
    if receipt.get("format") != "viewbox-receipt-1" or receipt["signature"]["algorithm"] != "Ed25519":
        raise ValueError("this is not a receipt of the kind that this script knows")
    proof, signature = receipt["proof"], receipt["signature"]
    count, root = proof["seal"][3], proof["seal"][4]
    leaf = hashlib.sha256(b"\x00" + canonical(proof["event"])).digest()
    if not 0 <= proof["position"] < count:
        raise ValueError("the record's place lies outside the seal")
    try:
        found = root_of(leaf, proof["position"], count, [bytes.fromhex(node) for node in proof["path"]])
    except IndexError:
        raise ValueError("the path is too short") from None
    if found.hex() != root:
        raise ValueError("the record does not belong to this seal: it or its path was changed")
    unsigned = {name: value for name, value in receipt.items() if name != "signature"}
    public_key = base64.b64decode(signature["public_key"], validate=True)
    value = base64.b64decode(signature["value"], validate=True)
    if not is_signed(public_key, b"viewbox receipt 1\n" + canonical(unsigned), value):
        raise ValueError("the signature does not fit")
    digits = hashlib.sha256(public_key).hexdigest()[:32]
    return " ".join(digits[at : at + 4] for at in range(0, 32, 4))


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        receipt = json.load(file)
    try:
        fingerprint = check(receipt)
    except (ValueError, KeyError, TypeError) as error:
        sys.exit(f"NOT VALID: {error}")
    if len(sys.argv) == 3 and sys.argv[2].replace(" ", "").lower() != fingerprint.replace(" ", ""):
        sys.exit(f"NOT VALID: signed by another key, {fingerprint}")
    record = dict(zip(["schema"] + receipt["proof"]["fields"], receipt["proof"]["event"]))
    when = datetime.datetime.fromtimestamp(record["timestamp"] / 1e6, datetime.timezone.utc)
    print(f"VALID, signed by the key {fingerprint} of {receipt['issuer']}")
    print(f"clinic   {receipt['clinic']['name']}")
    print(f"when     {when.isoformat(timespec='milliseconds')}")
    print(f"what     {receipt['words']} ({record['verb']}), outcome {record['outcome']}")
    who = [record[name] for name in ("actor_kind", "actor_reference", "actor_email")]
    print("who      " + " ".join(str(part) for part in who if part))
    print(f"from     {record['remote_addr']}, {record['user_agent']}")
    print(f"of       {record['object_kind']} {record['object_reference']}")
    print(f"study    {record['study_reference'] or '-'}, patient {record['patient_reference'] or '-'}")
    if len(sys.argv) == 2:
        print(f"Compare the key with the one published at {receipt['issuer']}/receipts/")


if __name__ == "__main__":
    main()
