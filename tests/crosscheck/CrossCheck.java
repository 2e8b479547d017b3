import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Instant;
import java.util.Date;
import java.util.HexFormat;
import java.util.StringJoiner;
import java.util.concurrent.Callable;
import org.bouncycastle.asn1.ASN1Sequence;
import org.bouncycastle.asn1.ASN1UTF8String;
import org.bouncycastle.asn1.x500.style.BCStyle;
import org.bouncycastle.asn1.x509.Attribute;
import org.bouncycastle.asn1.x509.AttributeCertificate;
import org.bouncycastle.asn1.x509.Extension;
import org.bouncycastle.asn1.x509.GeneralName;
import org.bouncycastle.asn1.x509.Target;
import org.bouncycastle.asn1.x509.TargetInformation;
import org.bouncycastle.asn1.x509.Targets;
import org.bouncycastle.cert.X509AttributeCertificateHolder;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.operator.jcajce.JcaContentVerifierProviderBuilder;

/**
 * What Bouncy Castle makes of attribute certificates.
 *
 * <p>Reads lines of a name, a certificate and the authority's public-key certificate (or a dash), tab-separated, the
 * last two in hexadecimal. Writes for each a line of the name and of what was found, as `key=value`, tab-separated.
 */
public final class CrossCheck {
    private static final String CONTRACT = "1.3.6.1.4.1.32473.1.1";
    private static final String ADMISSION = "1.3.6.1.4.1.32473.1.2";

    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] parts = line.split("\t");
            StringJoiner found = new StringJoiner("\t");
            found.add(parts[0]);
            judge(HexFormat.of().parseHex(parts[1]), parts[2], found);
            System.out.println(found);
        }
    }

    private static void judge(byte[] octets, String authority, StringJoiner found) {
        X509AttributeCertificateHolder certificate;
        try {
            certificate = new X509AttributeCertificateHolder(octets);
        } catch (Exception | StackOverflowError error) {
            found.add("parse=refused");
            return;
        }
        found.add("parse=accepted");
        if (!authority.equals("-")) {
            add(found, "signature", () -> signature(certificate, HexFormat.of().parseHex(authority)));
        }
        add(found, "digest", () -> digest(certificate.toASN1Structure().getAcinfo().getEncoded("DER")));
        add(found, "algorithm", () -> certificate.toASN1Structure().getAcinfo().getSignature().getAlgorithm().getId());
        add(found, "serial", () -> hexadecimal(certificate.getSerialNumber()));
        add(found, "issuer", () -> certificate.getIssuer().getNames()[0].getRDNs(BCStyle.CN)[0].getFirst().getValue().toString());
        add(found, "holder", () -> holder(certificate.toASN1Structure()));
        add(found, "holder_key", () -> {
            byte[] digest = certificate.getHolder().getObjectDigest();
            return digest == null ? "" : "sha256:" + HexFormat.of().formatHex(digest);
        });
        add(found, "broker", () -> target(certificate));
        add(found, "not_before", () -> time(certificate.getNotBefore()));
        add(found, "not_after", () -> time(certificate.getNotAfter()));
        add(found, "contract_digest", () -> {
            Attribute attribute = certificate.getAttributes(new org.bouncycastle.asn1.ASN1ObjectIdentifier(CONTRACT))[0];
            String text = ASN1UTF8String.getInstance(attribute.getAttrValues().getObjectAt(0)).getString();
            return digest(text.getBytes(StandardCharsets.UTF_8));
        });
        add(found, "approvals", () -> {
            Attribute attribute = certificate.getAttributes(new org.bouncycastle.asn1.ASN1ObjectIdentifier(ADMISSION))[0];
            ASN1Sequence admission = ASN1Sequence.getInstance(attribute.getAttrValues().getObjectAt(0));
            return admission.size() < 7 ? "0" : "" + ASN1Sequence.getInstance(admission.getObjectAt(6)).size();
        });
    }

    private static String signature(X509AttributeCertificateHolder certificate, byte[] authority) throws Exception {
        X509CertificateHolder issuer = new X509CertificateHolder(authority);
        var verifier = new JcaContentVerifierProviderBuilder().setProvider(new BouncyCastleProvider()).build(issuer);
        try {
            return certificate.isSignatureValid(verifier) ? "valid" : "invalid";
        } catch (Exception error) {
            return "invalid";
        }
    }

    private static String holder(AttributeCertificate certificate) {
        return uri(certificate.getAcinfo().getHolder().getEntityName().getNames()[0]);
    }

    private static String target(X509AttributeCertificateHolder certificate) {
        Extension extension = certificate.getExtension(Extension.targetInformation);
        Targets[] lists = TargetInformation.getInstance(extension.getParsedValue()).getTargetsObjects();
        Target[] targets = lists[0].getTargets();
        if (lists.length != 1 || targets.length != 1) {
            throw new IllegalArgumentException("not one target");
        }
        return uri(targets[0].getTargetName());
    }

    private static String uri(GeneralName name) {
        if (name.getTagNo() != GeneralName.uniformResourceIdentifier) {
            throw new IllegalArgumentException("not a URI");
        }
        return name.getName().toString();
    }

    private static String time(Date date) {
        return Instant.ofEpochMilli(date.getTime()).toString();
    }

    private static String hexadecimal(BigInteger number) {
        String digits = number.toString(16);
        return digits.length() % 2 == 0 ? digits : "0" + digits;
    }

    private static String digest(byte[] octets) throws Exception {
        return "sha256:" + HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(octets));
    }

    private static void add(StringJoiner found, String key, Callable<String> value) {
        String text;
        try {
            text = value.call();
        } catch (Exception error) {
            text = "error " + error.getClass().getSimpleName();
        }
        found.add(key + "=" + text);
    }
}
