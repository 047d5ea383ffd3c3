// The part of libjpeg-turbo that Go calls: read a JPEG from memory, hand its rows out one by one.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jpeglib.h"
#include "jerror.h"

#define IMPORT(name) __attribute__((import_module("host"), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name)))

IMPORT("fail") _Noreturn void fail(const char *message); // does not return: Go unwinds
IMPORT("size") void size(int width, int height, int components);
IMPORT("row") void row(const unsigned char *samples);

static int most;

static void error_exit(j_common_ptr c) {
  char m[JMSG_LENGTH_MAX];
  c->err->format_message(c, m);
  fail(m);
}

static void quiet(j_common_ptr c) {}
static void stub(j_decompress_ptr c) {}
static boolean fill(j_decompress_ptr c) { fail("the file is cut short"); }

static void skip(j_decompress_ptr c, long n) {
  if (n <= 0) return;
  if (n > (long)c->src->bytes_in_buffer) fill(c);
  c->src->next_input_byte += n;
  c->src->bytes_in_buffer -= n;
}

// A scan costs time by the picture's area, and next to nothing in the file.
static void progress(j_common_ptr c) {
  if (((j_decompress_ptr)c)->input_scan_number > most) fail("too many scans");
}

EXPORT("alloc") void *alloc(unsigned n) { return malloc(n); }

EXPORT("decode") void decode(const unsigned char *data, unsigned n, int scans, int raw) {
  struct jpeg_decompress_struct c;
  struct jpeg_error_mgr e;
  struct jpeg_progress_mgr p = {progress};
  struct jpeg_source_mgr s = {data, n, stub, fill, skip, jpeg_resync_to_restart, stub};
  most = scans;
  c.err = jpeg_std_error(&e);
  e.error_exit = error_exit;
  e.output_message = quiet;
  jpeg_create_decompress(&c);
  c.src = &s;
  c.progress = &p;
  while (jpeg_read_header(&c, FALSE) == JPEG_HEADER_TABLES_ONLY) {}
  if (raw)
    c.jpeg_color_space = c.out_color_space = JCS_UNKNOWN;
  else
    c.out_color_space = c.num_components == 1 ? JCS_GRAYSCALE : c.num_components == 3 ? JCS_RGB : JCS_CMYK;
  size(c.image_width, c.image_height, c.num_components);
  jpeg_start_decompress(&c);
  JSAMPROW samples = malloc(c.output_width * c.output_components);
  if (!samples) fail("out of memory");
  while (c.output_scanline < c.output_height)
    if (jpeg_read_scanlines(&c, &samples, 1) == 1) row(samples);
}

// Samples of more than 8 bits are read by another build of the same files, which is left away.
#define NONE(name) void name(void *c) { fail("samples of more than 8 bits are not supported"); }
#define NONE2(name) void name(void *c, int full) { fail("samples of more than 8 bits are not supported"); }
NONE(j12init_1pass_quantizer) NONE(j12init_2pass_quantizer) NONE(j12init_merged_upsampler)
NONE(j12init_color_deconverter) NONE(j16init_color_deconverter) NONE(j12init_upsampler) NONE(j16init_upsampler)
NONE(j12init_lossless_decompressor) NONE(j16init_lossless_decompressor) NONE(j12init_inverse_dct)
NONE2(j12init_d_post_controller) NONE2(j16init_d_post_controller) NONE2(j12init_d_diff_controller)
NONE2(j16init_d_diff_controller) NONE2(j12init_d_coef_controller) NONE2(j12init_d_main_controller)
NONE2(j16init_d_main_controller)

// What libjpeg uses of stdio: messages with %d, %u, %x, %c, %s. The C library's would bring its files along.
static int format(char *out, size_t room, const char *f, va_list a) {
  size_t n = 0;
#define PUT(x) do { char v_ = (x); if (n + 1 < room) out[n] = v_; n++; } while (0)
  for (; *f; f++) {
    if (*f != '%') { PUT(*f); continue; }
    f++;
    while ((*f >= '0' && *f <= '9') || *f == 'l') f++;
    if (*f == 's') {
      for (const char *s = va_arg(a, const char *); *s; s++) PUT(*s);
    } else if (*f == 'c') {
      PUT(va_arg(a, int));
    } else if (*f == 'd' || *f == 'u' || *f == 'x' || *f == 'X') {
      char digits[12];
      int k = 0, v = va_arg(a, int);
      unsigned u = v, base = *f == 'x' || *f == 'X' ? 16 : 10;
      if (*f == 'd' && v < 0) { PUT('-'); u = -u; }
      do digits[k++] = "0123456789abcdef"[u % base]; while (u /= base);
      while (k) PUT(digits[--k]);
    } else PUT(*f);
  }
  if (room) out[n < room ? n : room - 1] = 0;
  return n;
}
int sprintf(char *out, const char *f, ...) { va_list a; va_start(a, f); return format(out, JMSG_LENGTH_MAX, f, a); }
int snprintf(char *out, size_t n, const char *f, ...) { va_list a; va_start(a, f); return format(out, n, f, a); }
int fprintf(FILE *file, const char *f, ...) { return 0; }
#undef stderr
FILE *const stderr = NULL;
_Noreturn void exit(int code) { fail("libjpeg stopped"); }
