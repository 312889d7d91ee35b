/* Pixels of spikes: which of them an event reaches, sums of squares, another order. */
#include "events.h"

struct window {
    int64_t height, width, channels, out_height, out_width;
    int64_t kernel_rows, kernel_columns, stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x;
};

/* Which outputs an event reaches, whatever its weight: `out[n, oy, ox]` is 1 where the window holds an event in any channel, else 0; `fired` has room for the pixels of an image. */
EXPORT void nd_reached(const struct window *op, void *const *s_, int64_t images, uint8_t *fired, void *const *out_) {
    const uint8_t *s = *s_;
    uint8_t *out = *out_;
    for (int64_t n = 0; n < images; n++) {
        for (int64_t p = 0; p < op->height * op->width; p++, s += op->channels) {
            uint8_t any = 0;
            for (int64_t c = 0; c < op->channels; c++) any |= s[c];
            fired[p] = any != 0;
        }
        for (int64_t oy = 0; oy < op->out_height; oy++, out += op->out_width) {
            memset(out, 0, (size_t)op->out_width);
            for (int64_t ky = 0; ky < op->kernel_rows; ky++) {
                const int64_t y = oy * op->stride_y - op->padding_y + ky * op->dilation_y;
                if ((uint64_t)y >= (uint64_t)op->height) continue;
                for (int64_t kx = 0; kx < op->kernel_columns; kx++) {
                    /* Outputs whose tap lies in the row: x = ox * stride + at. */
                    const int64_t at = kx * op->dilation_x - op->padding_x, stride = op->stride_x;
                    const int64_t low = at < 0 ? (-at + stride - 1) / stride : 0;
                    const int64_t room = op->width - at <= 0 ? 0 : (op->width - at + stride - 1) / stride;
                    const int64_t high = room < op->out_width ? room : op->out_width;
                    const uint8_t *row = fired + y * op->width + at;
                    if (stride == 1)
                        for (int64_t ox = low; ox < high; ox++) out[ox] |= row[ox];
                    else
                        for (int64_t ox = low; ox < high; ox++) out[ox] |= row[ox * stride];
                }
            }
        }
    }
}

/* Bytes of squares of `pool` by `pool` pixels added up: `rows` of squares of all images, `width` squares each. */
EXPORT void nd_square_sums(void *const *s_, int64_t rows, int64_t width, int64_t channels, int64_t pool, void *const *out_) {
    const uint8_t *s = *s_;
    uint8_t *out = *out_;
    const int64_t line = width * pool * channels;
    for (int64_t y = 0; y < rows; y++, s += pool * line)
        for (int64_t x = 0; x < width; x++, out += channels) {
            const uint8_t *first = s + x * pool * channels;
            memcpy(out, first, (size_t)channels);
            for (int64_t square = 1; square < pool * pool; square++) {
                const uint8_t *at = first + square / pool * line + square % pool * channels;
                for (int64_t c = 0; c < channels; c++) out[c] += at[c];
            }
        }
}

/* (images, pixels, channels) to (images, channels, pixels), numbers of 1 or 4 bytes. */
EXPORT void nd_channels_first(void *const *x, int64_t images, int64_t pixels, int64_t channels, int64_t size, void *const *out) {
    for (int64_t n = 0; n < images; n++) {
        const int64_t first = n * pixels * channels;
        if (size == 1)
            for (int64_t c = 0; c < channels; c++)
                for (int64_t p = 0; p < pixels; p++)
                    ((uint8_t *)*out)[first + c * pixels + p] = ((const uint8_t *)*x)[first + p * channels + c];
        else
            for (int64_t c = 0; c < channels; c++)
                for (int64_t p = 0; p < pixels; p++)
                    ((int32_t *)*out)[first + c * pixels + p] = ((const int32_t *)*x)[first + p * channels + c];
    }
}
