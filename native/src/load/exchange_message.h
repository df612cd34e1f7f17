/*
 * exchange_message.h - finds the end of a reply in a protocol that the user describes: exact bytes, a delimiter, a number of bytes, or a
 * length prefix.
 */
#ifndef LOAD_EXCHANGE_MESSAGE_H
#define LOAD_EXCHANGE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "load/exchange_http.h"

/* The longest delimiter. */
#define MESSAGE_PATTERN_MAX_BYTES 4096u

/* Bytes to compare with or to look for. */
struct message_pattern {
	const uint8_t *bytes;
	uint32_t length;   /* 0: there is no pattern */
	uint16_t *borders; /* of a delimiter: after n matching bytes, how many still match if the next one does not */
};

/* Where a reply ends. */
struct message_frame {
	uint32_t kind;          /* enum ib_reply_frame */
	uint32_t length_prefix; /* enum ib_length_prefix */
	int32_t length_added;
	uint64_t length; /* IB_FRAME_BYTES */
	struct message_pattern pattern;
};

/* The reply that one connection is receiving. Zeros are a valid beginning. */
struct message_reply {
	uint64_t bytes;      /* so far */
	uint64_t left;       /* IB_FRAME_LENGTH_PREFIX: after the prefix */
	uint32_t prefix;     /* its value so far */
	uint32_t matched;    /* bytes of the delimiter that the last bytes match */
	const char *problem; /* after REPLY_MALFORMED */
};

/* Computes `borders`. False: there is no memory. Free it with message_pattern_close(). */
bool message_pattern_open(struct message_pattern *pattern);
void message_pattern_close(struct message_pattern *pattern);

/* Takes bytes of the reply, at most to its end. Returns how many; all of them while the verdict is REPLY_MORE. */
size_t message_reply_take(const struct message_frame *frame, struct message_reply *reply, const uint8_t *bytes,
                          size_t length, enum reply_verdict *verdict);
/* The number of bytes of a length prefix (enum ib_length_prefix). */
uint32_t message_prefix_bytes(uint32_t length_prefix);

#endif /* LOAD_EXCHANGE_MESSAGE_H */
