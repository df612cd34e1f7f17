/*
 * http_answer.c - what a connection that speaks HTTP is answered. See http_answer.h.
 */
#include "server/http_answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platform/ib_assert.h"

/* An image has as many replies as fit, and at least one. More would not fit in the buffer of a socket. */
#define IMAGE_BYTES (64u * 1024u)
#define HEADER_BYTES_MAX 192u

static const char body_text[] = "Hello, World!";

/* ------------------------------------------------------------------------------------------- replies */

struct description {
	const char *status;
	const char *connection; /* a field, or "" */
	bool has_body;
};

static const struct description descriptions[HTTP_REPLY_COUNT] = {
    [HTTP_REPLY_OK] = {"200 OK", "", true},
    [HTTP_REPLY_OK_HEAD] = {"200 OK", "", false},
    [HTTP_REPLY_KEPT] = {"200 OK", "Connection: keep-alive\r\n", true},
    [HTTP_REPLY_KEPT_HEAD] = {"200 OK", "Connection: keep-alive\r\n", false},
    [HTTP_REPLY_LAST] = {"200 OK", "Connection: close\r\n", true},
    [HTTP_REPLY_LAST_HEAD] = {"200 OK", "Connection: close\r\n", false},
    [HTTP_REPLY_MALFORMED] = {"400 Bad Request", "Connection: close\r\n", false},
    [HTTP_REPLY_TOO_LARGE] = {"431 Request Header Fields Too Large", "Connection: close\r\n", false},
};

static bool is_ok(enum http_reply reply)
{
	return reply <= HTTP_REPLY_LAST_HEAD;
}

static bool is_last(enum http_reply reply)
{
	return reply == HTTP_REPLY_LAST || reply == HTTP_REPLY_LAST_HEAD || reply == HTTP_REPLY_MALFORMED ||
	       reply == HTTP_REPLY_TOO_LARGE;
}

/* Writes the header of a reply, at most HEADER_BYTES_MAX. Returns its length. */
static uint32_t header_write(char *bytes, enum http_reply reply, uint32_t body_bytes)
{
	const struct description *description = &descriptions[reply];
	int length;
	if (reply == HTTP_REPLY_CONTINUE) {
		length = snprintf(bytes, HEADER_BYTES_MAX, "HTTP/1.1 100 Continue\r\n\r\n");
	} else if (is_ok(reply)) {
		length =
		    snprintf(bytes, HEADER_BYTES_MAX, "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %u\r\n%s\r\n",
		             description->status, body_bytes, description->connection);
	} else {
		length = snprintf(bytes, HEADER_BYTES_MAX, "HTTP/1.1 %s\r\nContent-Length: 0\r\n%s\r\n", description->status,
		                  description->connection);
	}
	ib_assert(length > 0 && (uint32_t)length < HEADER_BYTES_MAX);
	return (uint32_t)length;
}

/* How many of these replies are in an image. The last one is sent once. */
static uint32_t copies_of(enum http_reply reply, uint32_t reply_bytes)
{
	return is_last(reply) || reply_bytes > IMAGE_BYTES ? 1 : IMAGE_BYTES / reply_bytes;
}

struct http_replies *http_replies_make(uint32_t body_bytes)
{
	struct http_image images[HTTP_REPLY_COUNT];
	char headers[HTTP_REPLY_COUNT][HEADER_BYTES_MAX];
	uint32_t header_bytes[HTTP_REPLY_COUNT];
	size_t total = 0;
	for (enum http_reply reply = 0; reply < HTTP_REPLY_COUNT; reply++) {
		struct http_image *image = &images[reply];
		header_bytes[reply] = header_write(headers[reply], reply, body_bytes);
		image->reply_bytes = header_bytes[reply] + (descriptions[reply].has_body ? body_bytes : 0);
		image->image_bytes = image->reply_bytes * copies_of(reply, image->reply_bytes);
		total += image->image_bytes;
	}
	struct http_replies *replies = malloc(sizeof *replies + total);
	if (replies == NULL) {
		return NULL;
	}
	char *bytes = replies->memory;
	for (enum http_reply reply = 0; reply < HTTP_REPLY_COUNT; reply++) {
		struct http_image *image = &replies->images[reply];
		*image = images[reply];
		image->bytes = bytes;
		for (const char *end = bytes + image->image_bytes; bytes < end; bytes += image->reply_bytes) {
			memcpy(bytes, headers[reply], header_bytes[reply]);
			for (uint32_t at = header_bytes[reply]; at < image->reply_bytes; at++) {
				bytes[at] = body_text[(at - header_bytes[reply]) % (sizeof body_text - 1)];
			}
		}
	}
	return replies;
}

void http_replies_free(struct http_replies *replies)
{
	free(replies);
}

/* ---------------------------------------------------------------------------------------- connections */

static enum http_reply reply_to(const struct http_parser *parser)
{
	enum http_reply reply = !parser->keeps_alive  ? HTTP_REPLY_LAST
	                        : parser->is_http_1_0 ? HTTP_REPLY_KEPT
	                                              : HTTP_REPLY_OK;
	return parser->is_head ? reply + 1 : reply;
}

static enum http_reply reply_of(enum http_result result, const struct http_parser *parser)
{
	switch (result) {
	case HTTP_REQUEST:
		return reply_to(parser);
	case HTTP_CONTINUE:
		return HTTP_REPLY_CONTINUE;
	case HTTP_TOO_LARGE:
		return HTTP_REPLY_TOO_LARGE;
	default:
		return HTTP_REPLY_MALFORMED;
	}
}

/* Returns false if nothing can be kept behind it. */
static bool run_add(struct http_answer *answer, enum http_reply reply)
{
	struct http_run *first = &answer->runs[0];
	answer->is_over = is_last(reply);
	answer->is_refused = reply == HTTP_REPLY_MALFORMED || reply == HTTP_REPLY_TOO_LARGE;
	if (first->count == 0 || first->reply == reply) {
		first->reply = reply;
		first->count++;
		return !answer->is_over;
	}
	answer->runs[1] = (struct http_run){.count = 1, .reply = reply};
	return false;
}

size_t http_answer_take(struct http_answer *answer, const char *bytes, size_t length, uint32_t limit,
                        uint32_t *requests)
{
	size_t taken = 0;
	bool goes_on = !answer->is_over;
	ib_assert(answer->runs[0].count == 0 && limit > 0);
	*requests = 0;
	while (goes_on && *requests < limit && taken < length) {
		size_t more = 0;
		enum http_result result = http_parse(&answer->parser, bytes + taken, length - taken, &more);
		taken += more;
		if (result == HTTP_MORE) {
			break;
		}
		*requests += result == HTTP_REQUEST;
		goes_on = run_add(answer, reply_of(result, &answer->parser));
	}
	return answer->is_over ? length : taken;
}

uint32_t http_answer_next(const struct http_answer *answer, const struct http_replies *replies, const char **bytes)
{
	const struct http_run *run = &answer->runs[0];
	if (run->count == 0) {
		return 0;
	}
	const struct http_image *image = &replies->images[run->reply];
	uint64_t left = (uint64_t)run->count * image->reply_bytes;
	uint64_t length = left < image->image_bytes ? left : image->image_bytes;
	*bytes = image->bytes + answer->offset;
	return (uint32_t)length - answer->offset;
}

void http_answer_sent(struct http_answer *answer, const struct http_replies *replies, uint32_t bytes)
{
	struct http_run *run = &answer->runs[0];
	uint32_t reply_bytes = replies->images[run->reply].reply_bytes;
	uint32_t sent = answer->offset + bytes;
	ib_assert(sent / reply_bytes <= run->count);
	run->count -= sent / reply_bytes;
	answer->offset = sent % reply_bytes;
	if (run->count == 0) {
		*run = answer->runs[1];
		answer->runs[1] = (struct http_run){0};
	}
}
