/*
 * http_request.h - where an HTTP/1.1 request ends (RFC 9112), for servers whose reply does not depend on what is requested.
 *
 * The parser is a state machine. It works whatever the pieces are in which the bytes come, keeps no bytes of them, and allocates nothing.
 *
 * Malformed are, by RFC 9112 and 9110: a request line that is not method, target and "HTTP/1.x" with one space between them; a bare CR or
 * LF (section 2.2 lets a server refuse a line that ends with LF alone); white space before the colon of a field, or a folded field (5.1, 5.2);
 * HTTP/1.1 without Host, two Hosts, or a Host with characters that no host has (3.2); Content-Length that is no number or comes twice;
 * Transfer-Encoding other than "chunked", with Content-Length, twice, or in HTTP/1.0 (6.1); a chunk whose size is no number or whose data
 * is not followed by CRLF (7.1). CONNECT is refused as well: it wants a tunnel.
 */
#ifndef HTTP_REQUEST_H
#define HTTP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The most bytes of a request line with its fields, and of trailers with theirs, line ends included. */
#define HTTP_HEADER_BYTES_MAX (16u * 1024u)
/* The most bytes of a line with a chunk's size, extensions and line end included. */
#define HTTP_CHUNK_LINE_BYTES_MAX 4096u
/* Longer methods, field names and options of a field are known to be none of those that matter. */
#define HTTP_WORD_BYTES 20u

enum http_result {
	HTTP_MORE,    /* all bytes are taken, and no request is whole */
	HTTP_REQUEST, /* a request is whole */
	HTTP_CONTINUE, /* its header is whole, and the client awaits "100 Continue" before it sends the body; go on parsing */
	HTTP_MALFORMED, /* not a request: nothing that follows can be understood */
	HTTP_TOO_LARGE, /* longer than HTTP_HEADER_BYTES_MAX: as above */
};

/* Of one connection; all zero at first. */
struct http_parser {
	uint64_t body_left;    /* bytes of the body, or of the chunk, that are still to come */
	uint32_t header_bytes; /* of the header, trailers or chunk line so far */
	uint8_t state;         /* enum state of http_request.c */
	uint8_t field;         /* which field the line is about */
	uint8_t value_state;   /* how far its value is */
	uint8_t version;       /* bytes of "HTTP/1.x" that came */
	uint8_t word_length;   /* bytes of word[]; more than HTTP_WORD_BYTES: too long to matter */
	char word[HTTP_WORD_BYTES];
	bool is_http_1_0 : 1;
	bool is_head : 1; /* with HTTP_REQUEST: the method is HEAD, so that the reply has no body */
	bool is_connect : 1;
	bool in_trailers : 1;
	bool has_host : 1;
	bool has_length : 1;
	bool is_chunked : 1;
	bool expects_continue : 1;
	bool wants_close : 1;
	bool wants_keep_alive : 1;
	bool keeps_alive : 1; /* with HTTP_REQUEST: the connection stays open after the reply (RFC 9112, section 9.3) */
};

/*
 * Parses `length` bytes, until a request is whole at the latest. *taken: how many of them it took; those behind belong to the next request.
 * After HTTP_MALFORMED and HTTP_TOO_LARGE the parser must not be used again.
 */
enum http_result http_parse(struct http_parser *parser, const char *bytes, size_t length, size_t *taken);

#endif /* HTTP_REQUEST_H */
