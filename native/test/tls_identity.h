/*
 * tls_identity.h - certificates for tests of TLS, made with the OpenSSL that a test is linked with.
 */
#ifndef TLS_IDENTITY_H
#define TLS_IDENTITY_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

struct identity {
	X509 *certificate;
	EVP_PKEY *key;
	char *certificate_pem;
	char *key_pem;
};

static inline char *pem_text(BIO *bio)
{
	char *data = NULL;
	long length = BIO_get_mem_data(bio, &data);
	char *text = calloc(1, (size_t)length + 1);

	memcpy(text, data, (size_t)length);
	BIO_free(bio);
	return text;
}

static inline void extension_add(X509 *certificate, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;
	X509V3_set_ctx_nodb(&context);
	X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	X509_add_ext(certificate, extension, -1);
	X509_EXTENSION_free(extension);
}

/* `issuer` NULL: signed by itself. Valid from a day ago until `days` days from now. */
static inline struct identity identity_make(const char *name, const char *names, const struct identity *issuer,
                                            bool authority, int days)
{
	struct identity made = {.certificate = X509_new(), .key = EVP_EC_gen("P-256")};
	X509 *certificate = made.certificate;
	static long serial = 1;

	X509_set_version(certificate, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -86400L * 10);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 86400L * days);
	X509_set_pubkey(certificate, made.key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC, (const unsigned char *)name, -1,
	                           -1, 0);
	X509 *by = issuer != NULL ? issuer->certificate : certificate;
	X509_set_issuer_name(certificate, X509_get_subject_name(by));
	extension_add(certificate, by, NID_basic_constraints, authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
	if (names != NULL) {
		extension_add(certificate, by, NID_subject_alt_name, names);
	}
	X509_sign(certificate, issuer != NULL ? issuer->key : made.key, EVP_sha256());

	BIO *bio = BIO_new(BIO_s_mem());
	PEM_write_bio_X509(bio, certificate);
	made.certificate_pem = pem_text(bio);
	bio = BIO_new(BIO_s_mem());
	PEM_write_bio_PrivateKey(bio, made.key, NULL, NULL, 0, NULL, NULL);
	made.key_pem = pem_text(bio);
	return made;
}

static inline void identity_free(struct identity *identity)
{
	X509_free(identity->certificate);
	EVP_PKEY_free(identity->key);
	free(identity->certificate_pem);
	free(identity->key_pem);
}

#endif /* TLS_IDENTITY_H */
