/* What the recorder says to the user of a program that is not its own: lines on standard error, as long as
 * descriptor 2 is the file that it was when recording began. */
#ifndef REC_NOTICE_H
#define REC_NOTICE_H

/* Remembers which file descriptor 2 is. */
void rec_notice_init(void);

/* Nothing is told until the next rec_notice_init. */
void rec_notice_hold(void);

/* Writes "panopticon: " and the formatted text with a newline, in one write(2) of at most 1,024 bytes. */
void rec_notice(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
