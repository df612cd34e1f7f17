/*
 * tls.h - the client's side of TLS 1.2 and 1.3 without any socket: ciphertext goes in and out through memory, plaintext through calls.
 *
 * An engine has one context, and a session per connection. A context and its sessions belong to one thread.
 */
#ifndef LOAD_TLS_H
#define LOAD_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "load/openssl.h"
#include "platform/ib_assert.h"

struct tls_context;

enum tls_state {
	TLS_CLOSED = 0,    /* not begun */
	TLS_HANDSHAKE = 1, /* begun */
	TLS_OPEN = 2,      /* handshake complete, and the server's certificate verified if that was requested */
	TLS_ENDED = 3,     /* the server has ended the session (close_notify) */
	TLS_FAILED = 4,    /* tls_failure() says why */
};

/* Why the last session of a context failed. */
enum tls_failure_kind {
	TLS_FAILURE_NONE = 0,
	TLS_FAILURE_HANDSHAKE = 1,
	TLS_FAILURE_VERIFY = 2, /* the server's certificate was refused */
	TLS_FAILURE_RECORD = 3, /* after the handshake: a wrong record, or an alert of the server */
};

struct tls_failure {
	enum tls_failure_kind kind;
	char words[160]; /* one sentence without a full stop: what failed, and what to do about it if that is known */
};

/* A session that is all zeros is TLS_CLOSED. The members are for tls.c and the inline functions below. */
struct tls_session {
	struct ssl_st *ssl;
	struct ssl_session_st *saved; /* resumption: of an earlier session of this connection; NULL if there is none */
	struct tls_context *context;
	const uint8_t *in; /* the part of the last tls_feed() that OpenSSL has not taken */
	size_t in_bytes;
	uint8_t *out; /* ciphertext to send is out[out_start..out_end) */
	uint32_t out_start;
	uint32_t out_end;
	uint32_t out_capacity;
	uint8_t state; /* enum tls_state */
	bool resumed;  /* TLS_OPEN: this session resumed an earlier one */
};

/* Text of a certain length, not terminated. */
struct tls_text {
	const char *bytes;
	size_t length;
};

struct tls_settings {
	struct tls_text authorities; /* trusted certificates, PEM; not used if `insecure` */
	struct tls_text certificate; /* the client's own, PEM, followed by the rest of its chain; length 0: none */
	struct tls_text key;         /* its private key, PEM, not encrypted */
	const char *server_name;     /* the name or address that the server's certificate must be for */
	bool server_name_is_address; /* an address is not sent to the server (RFC 6066, section 3) */
	bool insecure;               /* accept any certificate */
	bool resume;                 /* resume the connection's earlier session, if the server allows it */
};

/*
 * Makes a context. The settings are not used after the call. IB_STATUS_UNAVAILABLE: there is no OpenSSL (openssl_find()).
 * IB_STATUS_USAGE: a certificate or a key is wrong. IB_STATUS_MEMORY.
 */
int32_t tls_context_open(struct tls_context **out, const struct tls_settings *settings, struct ib_error *error);
/* Frees a context whose sessions are all closed and forgotten. NULL is allowed. */
void tls_context_close(struct tls_context *context);

/* Begins a session: the first bytes to send are ready afterwards. False: out of memory. The session must be TLS_CLOSED. */
bool tls_begin(struct tls_context *context, struct tls_session *session);
/* Frees what a session holds, and makes it TLS_CLOSED. It keeps what a later session can be resumed with. */
void tls_close(struct tls_session *session);
/* Frees also that. */
void tls_forget(struct tls_session *session);

/* Ciphertext came. It must stay valid until tls_read() returns 0. There must be no rest of an earlier feed. */
void tls_feed(struct tls_session *session, const uint8_t *bytes, size_t length);
/*
 * Continues the handshake, or decrypts. Returns the number of bytes of plaintext, at most `capacity`. 0: the fed bytes are used up, the
 * handshake is complete (so call it once more), or the session has ended or failed; see the state.
 */
size_t tls_read(struct tls_session *session, uint8_t *out, size_t capacity);
/* Encrypts. Returns how many bytes were taken; 0 if the session must receive first (renegotiation), is not TLS_OPEN, or failed. */
size_t tls_write(struct tls_session *session, const uint8_t *bytes, size_t length);
/* Writes the alert close_notify. Nothing can be written after it. */
void tls_end(struct tls_session *session);

/* Ciphertext that is ready to be sent. */
static inline size_t tls_pending(const struct tls_session *session)
{
	return session->out_end - session->out_start;
}
static inline const uint8_t *tls_pending_bytes(const struct tls_session *session)
{
	return session->out + session->out_start;
}
/* The first `length` bytes of it were sent. */
void tls_sent(struct tls_session *session, size_t length);

/* Why the last session of the context failed. */
const struct tls_failure *tls_failure(const struct tls_context *context);
/* Version and cipher of a session that is or was TLS_OPEN, such as "TLSv1.3 TLS_AES_256_GCM_SHA384". */
void tls_describe(const struct tls_session *session, char *out, size_t size);

#endif /* LOAD_TLS_H */
