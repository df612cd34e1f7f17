/*
 * http_answer.h - what a connection that speaks HTTP is answered: the server's side of the exchange `http`.
 *
 * Every request gets the same reply: 200 with a body of a fixed size, in the order of the requests, without a body for HEAD. What is no request
 * gets 400, a header above 16 KiB gets 431, and both end the connection, as do "Connection: close" and HTTP/1.0 without "keep-alive"; what
 * comes after that is not answered.
 *
 * All replies are prepared when the server starts, each as often in a row as fits in an image, so that the replies to pipelined requests are
 * one send of memory that all connections share. A connection only counts how many replies of which kind it still has to send, so a peer
 * that does not read costs no memory.
 */
#ifndef HTTP_ANSWER_H
#define HTTP_ANSWER_H

#include "platform/platform.h"
#include "server/http_request.h"

#define HTTP_BODY_BYTES_MAX (1024u * 1024u)

enum http_reply {
	HTTP_REPLY_OK = 0,
	HTTP_REPLY_OK_HEAD, /* the same without the body */
	HTTP_REPLY_KEPT,    /* to HTTP/1.0 with "keep-alive", which has to be granted in words */
	HTTP_REPLY_KEPT_HEAD,
	HTTP_REPLY_LAST, /* and the connection ends */
	HTTP_REPLY_LAST_HEAD,
	HTTP_REPLY_CONTINUE,  /* 100, before the body of a request */
	HTTP_REPLY_MALFORMED, /* 400, and the connection ends */
	HTTP_REPLY_TOO_LARGE, /* 431, and the connection ends */
	HTTP_REPLY_COUNT,
};

/* One reply, again and again. */
struct http_image {
	const char *bytes;
	uint32_t reply_bytes; /* of one reply */
	uint32_t image_bytes; /* a multiple of it */
};

/* The prepared replies of a server; read-only while it runs. */
struct http_replies {
	struct http_image images[HTTP_REPLY_COUNT];
	char memory[];
};

/* Replies of one kind that are not sent yet. */
struct http_run {
	uint32_t count;
	enum http_reply reply;
};

/* Of one connection; all zero at first. */
struct http_answer {
	struct http_parser parser;
	struct http_run runs[2]; /* the second is of another kind, and follows the first */
	uint32_t offset;         /* bytes sent of the first reply of the first run */
	bool is_over;            /* the last reply is among those to be sent, or sent; nothing more is parsed */
	bool is_refused;         /* and it is 400 or 431 */
};

/* Prepares replies with a body of body_bytes, 0..HTTP_BODY_BYTES_MAX. NULL: no memory. */
struct http_replies *http_replies_make(uint32_t body_bytes);
void http_replies_free(struct http_replies *replies);

/*
 * Parses received bytes, until all are taken, `limit` requests are whole, or replies of a third kind would have to be kept. *requests: how
 * many became whole, those that are refused not counted. Returns how many bytes were taken. Only with no reply to send; after the last reply
 * all bytes are taken, and ignored.
 */
size_t http_answer_take(struct http_answer *answer, const char *bytes, size_t length, uint32_t limit,
                        uint32_t *requests);
/* The bytes to send next: *bytes, and how many; 0: none. */
uint32_t http_answer_next(const struct http_answer *answer, const struct http_replies *replies, const char **bytes);
/* `bytes` of them, at most what http_answer_next() returned, were sent. */
void http_answer_sent(struct http_answer *answer, const struct http_replies *replies, uint32_t bytes);

#endif /* HTTP_ANSWER_H */
