"""Compiles the ASN.1 module of the certificate profile, and reads certificates with what comes out.

Reads lines of a name and a certificate in hexadecimal, tab-separated. Writes for each a line of the name and of what was
found, as `key=value`, tab-separated. Argument: the profile's document.
"""

import hashlib
import re
import sys

import asn1tools

CONTRACT = "1.3.6.1.4.1.32473.1.1"
ADMISSION = "1.3.6.1.4.1.32473.1.2"


def main():
    with open(sys.argv[1], encoding="utf-8") as document:
        module = re.search(r"```asn1\n(.*?)```", document.read(), re.DOTALL).group(1)
    types = asn1tools.compile_string(module, "der")
    for line in sys.stdin:
        name, octets = line.rstrip("\n").split("\t")
        found = {"parse": "accepted"}
        try:
            found |= read(types, bytes.fromhex(octets))
        except Exception as error:  # whatever it is, it is what the tool makes of the octets
            found = {"parse": "refused", "error": type(error).__name__}
        print("\t".join([name, *(f"{key}={value}" for key, value in found.items())]))


def read(types, octets):
    certificate = types.decode("AttributeCertificate", octets)
    info = certificate["acinfo"]
    attributes = {attribute["type"]: attribute["values"] for attribute in info["attributes"]}
    extensions = {extension["extnID"]: extension for extension in info["extensions"]}
    contract = types.decode("ExecutionContract", attributes[CONTRACT][0])
    admission = types.decode("Admission", attributes[ADMISSION][0])
    [[(kind, (form, broker))]] = types.decode("TargetInformation", extensions["2.5.29.55"]["extnValue"])
    key = types.decode("AuthorityKeyIdentifier", extensions["2.5.29.35"]["extnValue"])
    [(holder_form, holder)] = info["holder"]["entityName"]
    issuer_form, issuer = info["issuer"]
    [(_, [[name]])] = issuer["issuerName"]
    assert (kind, form, holder_form, issuer_form) == ("targetName", *["uniformResourceIdentifier"] * 2, "v2Form")
    assert key["keyIdentifier"] and info["version"] == 1
    digest = info["holder"].get("objectDigestInfo")
    serial = f"{info['serialNumber']:x}"
    return {
        "same": types.encode("AttributeCertificate", certificate) == octets,
        "digest": sha256(types.encode("AttributeCertificateInfo", info)),
        "algorithm": info["signature"]["algorithm"],
        "serial": "0" * (len(serial) % 2) + serial,
        # A string of any type, shorter than 128 octets.
        "issuer": name["value"][2:].decode(),
        "holder": holder,
        "holder_key": "sha256:" + digest["objectDigest"][0].hex() if digest else "",
        "broker": broker,
        "not_before": time(info["attrCertValidityPeriod"]["notBeforeTime"]),
        "not_after": time(info["attrCertValidityPeriod"]["notAfterTime"]),
        "contract_digest": sha256(contract.encode()),
        "approvals": len(admission.get("approvals", [])),
    }


def sha256(octets):
    return "sha256:" + hashlib.sha256(octets).hexdigest()


def time(value):
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")


main()
