/*
 * openssl.h - the functions of OpenSSL 3 that the client uses, found at run time in the program that loaded this library.
 *
 * Node contains OpenSSL and exports it to addons, so TLS needs no library of our own and no headers to build. The declarations below are
 * those of OpenSSL 3.0 (include/openssl/ssl.h, bio.h, err.h, pem.h, x509.h, x509_vfy.h). Later 3.x versions have the same ABI.
 */
#ifndef LOAD_OPENSSL_H
#define LOAD_OPENSSL_H

#include <stdint.h>

#include "platform/platform.h"

struct bio_method_st;
struct bio_st;
struct evp_pkey_st;
struct ssl_cipher_st;
struct ssl_ctx_st;
struct ssl_method_st;
struct ssl_session_st;
struct ssl_st;
struct X509_VERIFY_PARAM_st;
struct x509_st;
struct x509_store_ctx_st;
struct x509_store_st;

/* Values of OpenSSL's macros. */
enum openssl_constant {
	OPENSSL_BIO_FLAGS_READ = 0x01,
	OPENSSL_BIO_FLAGS_RETRY_ALL = 0x0f, /* BIO_FLAGS_RWS and BIO_FLAGS_SHOULD_RETRY */
	OPENSSL_BIO_FLAGS_SHOULD_RETRY = 0x08,
	OPENSSL_BIO_CTRL_FLUSH = 11,
	OPENSSL_BIO_TYPE_SOURCE_SINK = 0x0400,
	OPENSSL_SSL_CTRL_MODE = 33,
	OPENSSL_SSL_CTRL_SET_SESS_CACHE_MODE = 44,
	OPENSSL_SSL_CTRL_SET_TLSEXT_HOSTNAME = 55,
	OPENSSL_SSL_CTRL_CHAIN_CERT = 89,
	OPENSSL_SSL_CTRL_SET_MIN_PROTO_VERSION = 123,
	OPENSSL_SSL_MODE_ENABLE_PARTIAL_WRITE = 0x1,
	OPENSSL_SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER = 0x2,
	OPENSSL_SSL_SESS_CACHE_OFF = 0,
	OPENSSL_SSL_VERIFY_NONE = 0,
	OPENSSL_SSL_VERIFY_PEER = 1,
	OPENSSL_SSL_ERROR_WANT_READ = 2,
	OPENSSL_SSL_ERROR_WANT_WRITE = 3,
	OPENSSL_SSL_ERROR_ZERO_RETURN = 6,
	OPENSSL_SSL_SENT_SHUTDOWN = 1,
	OPENSSL_SSL_RECEIVED_SHUTDOWN = 2,
	OPENSSL_SSL_R_CERTIFICATE_VERIFY_FAILED = 134,
	OPENSSL_SSL_R_PACKET_LENGTH_TOO_LONG = 198,
	OPENSSL_SSL_R_WRONG_VERSION_NUMBER = 267,
	OPENSSL_SSL_R_UNEXPECTED_MESSAGE = 244,
	OPENSSL_TLS1_2_VERSION = 0x0303,
	OPENSSL_X509_V_ERR_CERT_NOT_YET_VALID = 9,
	OPENSSL_X509_V_ERR_CERT_HAS_EXPIRED = 10,
	OPENSSL_X509_V_ERR_HOSTNAME_MISMATCH = 62,
	OPENSSL_X509_V_ERR_IP_ADDRESS_MISMATCH = 64,
};

/* FUNCTION(result, name, parameters) */
#define OPENSSL_FUNCTIONS(FUNCTION)                                                                                    \
	FUNCTION(unsigned long, OpenSSL_version_num, (void))                                                               \
	FUNCTION(const char *, OpenSSL_version, (int))                                                                     \
	FUNCTION(const struct ssl_method_st *, TLS_client_method, (void))                                                  \
	FUNCTION(struct ssl_ctx_st *, SSL_CTX_new, (const struct ssl_method_st *))                                         \
	FUNCTION(void, SSL_CTX_free, (struct ssl_ctx_st *))                                                                \
	FUNCTION(long, SSL_CTX_ctrl, (struct ssl_ctx_st *, int, long, void *))                                             \
	FUNCTION(void, SSL_CTX_set_verify, (struct ssl_ctx_st *, int, int (*callback)(int, struct x509_store_ctx_st *)))   \
	FUNCTION(struct x509_store_st *, SSL_CTX_get_cert_store, (const struct ssl_ctx_st *))                              \
	FUNCTION(struct X509_VERIFY_PARAM_st *, SSL_CTX_get0_param, (struct ssl_ctx_st *))                                 \
	FUNCTION(int, SSL_CTX_use_certificate, (struct ssl_ctx_st *, struct x509_st *))                                    \
	FUNCTION(int, SSL_CTX_use_PrivateKey, (struct ssl_ctx_st *, struct evp_pkey_st *))                                 \
	FUNCTION(int, SSL_CTX_check_private_key, (const struct ssl_ctx_st *))                                              \
	FUNCTION(struct ssl_st *, SSL_new, (struct ssl_ctx_st *))                                                          \
	FUNCTION(void, SSL_free, (struct ssl_st *))                                                                        \
	FUNCTION(long, SSL_ctrl, (struct ssl_st *, int, long, void *))                                                     \
	FUNCTION(void, SSL_set_bio, (struct ssl_st *, struct bio_st *, struct bio_st *))                                   \
	FUNCTION(void, SSL_set_connect_state, (struct ssl_st *))                                                           \
	FUNCTION(int, SSL_do_handshake, (struct ssl_st *))                                                                 \
	FUNCTION(int, SSL_read, (struct ssl_st *, void *, int))                                                            \
	FUNCTION(int, SSL_write, (struct ssl_st *, const void *, int))                                                     \
	FUNCTION(int, SSL_pending, (const struct ssl_st *))                                                                \
	FUNCTION(int, SSL_shutdown, (struct ssl_st *))                                                                     \
	FUNCTION(void, SSL_set_shutdown, (struct ssl_st *, int))                                                           \
	FUNCTION(int, SSL_get_error, (const struct ssl_st *, int))                                                         \
	FUNCTION(long, SSL_get_verify_result, (const struct ssl_st *))                                                     \
	FUNCTION(const char *, SSL_get_version, (const struct ssl_st *))                                                   \
	FUNCTION(const struct ssl_cipher_st *, SSL_get_current_cipher, (const struct ssl_st *))                            \
	FUNCTION(const char *, SSL_CIPHER_get_name, (const struct ssl_cipher_st *))                                        \
	FUNCTION(struct ssl_session_st *, SSL_get1_session, (struct ssl_st *))                                             \
	FUNCTION(int, SSL_set_session, (struct ssl_st *, struct ssl_session_st *))                                         \
	FUNCTION(int, SSL_session_reused, (const struct ssl_st *))                                                         \
	FUNCTION(int, SSL_SESSION_is_resumable, (const struct ssl_session_st *))                                           \
	FUNCTION(void, SSL_SESSION_free, (struct ssl_session_st *))                                                        \
	FUNCTION(int, X509_VERIFY_PARAM_set1_host, (struct X509_VERIFY_PARAM_st *, const char *, size_t))                  \
	FUNCTION(int, X509_VERIFY_PARAM_set1_ip_asc, (struct X509_VERIFY_PARAM_st *, const char *))                        \
	FUNCTION(int, X509_STORE_add_cert, (struct x509_store_st *, struct x509_st *))                                     \
	FUNCTION(void, X509_free, (struct x509_st *))                                                                      \
	FUNCTION(const char *, X509_verify_cert_error_string, (long))                                                      \
	FUNCTION(void, EVP_PKEY_free, (struct evp_pkey_st *))                                                              \
	FUNCTION(struct x509_st *, PEM_read_bio_X509,                                                                      \
	         (struct bio_st *, struct x509_st **, int (*callback)(char *, int, int, void *), void *))                  \
	FUNCTION(struct evp_pkey_st *, PEM_read_bio_PrivateKey,                                                            \
	         (struct bio_st *, struct evp_pkey_st **, int (*callback)(char *, int, int, void *), void *))              \
	FUNCTION(struct bio_st *, BIO_new, (const struct bio_method_st *))                                                 \
	FUNCTION(struct bio_st *, BIO_new_mem_buf, (const void *, int))                                                    \
	FUNCTION(int, BIO_free, (struct bio_st *))                                                                         \
	FUNCTION(void, BIO_set_data, (struct bio_st *, void *))                                                            \
	FUNCTION(void *, BIO_get_data, (struct bio_st *))                                                                  \
	FUNCTION(void, BIO_set_init, (struct bio_st *, int))                                                               \
	FUNCTION(void, BIO_set_flags, (struct bio_st *, int))                                                              \
	FUNCTION(void, BIO_clear_flags, (struct bio_st *, int))                                                            \
	FUNCTION(struct bio_method_st *, BIO_meth_new, (int, const char *))                                                \
	FUNCTION(void, BIO_meth_free, (struct bio_method_st *))                                                            \
	FUNCTION(int, BIO_meth_set_write, (struct bio_method_st *, int (*callback)(struct bio_st *, const char *, int)))   \
	FUNCTION(int, BIO_meth_set_read, (struct bio_method_st *, int (*callback)(struct bio_st *, char *, int)))          \
	FUNCTION(int, BIO_meth_set_ctrl, (struct bio_method_st *, long (*callback)(struct bio_st *, int, long, void *)))   \
	FUNCTION(void, ERR_clear_error, (void))                                                                            \
	FUNCTION(unsigned long, ERR_peek_error, (void))                                                                    \
	FUNCTION(unsigned long, ERR_peek_last_error, (void))                                                               \
	FUNCTION(const char *, ERR_reason_error_string, (unsigned long))

struct openssl {
#define OPENSSL_MEMBER(result, name, parameters) result(*name) parameters;
	OPENSSL_FUNCTIONS(OPENSSL_MEMBER)
#undef OPENSSL_MEMBER
};

/* Finds a symbol of the process: process_symbol(), or a test's replacement. */
typedef void *(*openssl_finder)(const char *name);

/*
 * Fills *out. Fails with IB_STATUS_UNAVAILABLE if the program exports no OpenSSL, another TLS library of the same interface, another
 * major version than 3, or not all of the functions. The message says which.
 */
int32_t openssl_find(struct openssl *out, openssl_finder find, struct ib_error *error);

/* The reason code of an entry of the error queue (ERR_GET_REASON). */
static inline int openssl_reason(unsigned long code)
{
	return (int)(code & 0x7fffff);
}

#endif /* LOAD_OPENSSL_H */
