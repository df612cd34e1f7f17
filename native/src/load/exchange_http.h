/*
 * exchange_http.h - judges the replies of an HTTP/1.1 server (RFC 9112), whatever pieces they come in.
 *
 * A header block is parsed when it is complete. One that comes in pieces is collected first, so that it can be split at any byte. The block
 * of the last reply is kept: a server that sends the same block again, as most do until their Date changes, costs one comparison.
 */
#ifndef LOAD_EXCHANGE_HTTP_H
#define LOAD_EXCHANGE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The longest header block, and the longest trailer section. */
#define HTTP_HEAD_MAX_BYTES 16384u
/* The longest line before a chunk. */
#define HTTP_CHUNK_LINE_MAX_BYTES 4096u
/* A longer header block is not kept for comparison. */
#define HTTP_HEAD_KEPT_BYTES 2048u

enum reply_verdict {
	REPLY_MORE = 0,      /* the reply is not complete */
	REPLY_WHOLE = 1,     /* the reply is complete */
	REPLY_MALFORMED = 2, /* the bytes are not a reply; `problem` says why */
};

enum http_framing {
	HTTP_FRAMING_LENGTH = 0,
	HTTP_FRAMING_CHUNKED = 1,
	HTTP_FRAMING_TO_END = 2, /* the body ends where the connection ends */
};

/* What a header block says. */
struct http_head {
	uint64_t length; /* HTTP_FRAMING_LENGTH: bytes of the body */
	uint16_t status; /* 100..599 */
	uint8_t framing; /* enum http_framing */
	bool closes;     /* the server closes the connection after this reply */
};

/* What is the same for all connections of an engine. Zeros, but for no_body, are a valid beginning. */
struct http_rules {
	bool no_body; /* replies have no body, because the requests are HEAD */
	uint32_t kept_bytes;
	struct http_head kept_head;
	uint8_t kept[HTTP_HEAD_KEPT_BYTES];
};

/* The reply that one connection is receiving. Zeros are a valid beginning. */
struct http_reply {
	uint64_t left;       /* of the body or of the chunk */
	uint64_t body_bytes; /* of the whole reply once it is complete */
	uint64_t body_hash;  /* the same for the same body, however it was split or chunked */
	uint64_t word;       /* bytes of the body that are not yet in body_hash */
	uint64_t bytes;      /* of this reply so far, interim replies included */
	uint8_t *head;       /* the beginning of a header block that comes in pieces; NULL: none */
	const char *problem; /* after REPLY_MALFORMED */
	uint32_t head_bytes;
	uint32_t head_capacity;
	uint32_t line_bytes; /* of the line before a chunk, or of the trailers */
	uint16_t status;
	uint8_t word_bytes;
	uint8_t step;
	bool closes; /* the server closes the connection after this reply */
};

/*
 * Takes bytes of the reply, at most to its end. Returns how many; all of them while the verdict is REPLY_MORE. After REPLY_WHOLE the reply's
 * status, body and `closes` can be read until http_reply_next(). After REPLY_MALFORMED only http_reply_reset() may be called.
 */
size_t http_reply_take(struct http_rules *rules, struct http_reply *reply, const uint8_t *bytes, size_t length,
                       enum reply_verdict *verdict);
/* The connection ended. REPLY_WHOLE if that ends the reply, else REPLY_MORE. */
enum reply_verdict http_reply_end(struct http_reply *reply);
/* The next reply of the same connection begins. */
void http_reply_next(struct http_reply *reply);
/* Another connection begins. Frees what was collected. */
void http_reply_reset(struct http_reply *reply);
/* The hash that http_reply_take() computes of such a body. */
uint64_t http_body_hash(const uint8_t *bytes, size_t length);

#endif /* LOAD_EXCHANGE_HTTP_H */
