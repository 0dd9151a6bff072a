/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * gtfs.pack.delta.make_delta and gtfs.pack.treediff.difference, compiled (see gtfs/pack/quickdelta.py).
 *
 * What they give is what the Python would give, byte for byte; for what is not plainly good a function gives None, and
 * the Python beside its caller begins anew. Every buffer is read within its bounds. The GIL is let go for work on more
 * than SLICE_BYTES; for less, getting it back from a busy thread would take longer than the work.
 */
#define Py_LIMITED_API 0x030b0000
#define PY_SSIZE_T_CLEAN
#define _GNU_SOURCE /* memmem */
#include <Python.h>

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define SLICE_BYTES (64 * 1024)
#define WHOLE_MAX (1 << 30) /* offsets are 32 bits */
#define MIN_MATCH 16        /* these four: pack/delta.py */
#define MAX_COPY 0x10000
#define MAX_INSERT 127
#define ASKED 4 /* tokens: looking for more of them in the base takes longer than to index it */

typedef unsigned char byte;

/* What a step says. */
enum verdict {
    FAILED = -1, /* no memory */
    LEFT = 0,    /* for the Python */
    GOOD = 1,
};

/* ---- bytes in common ---- */

static size_t
common_prefix(const byte *a, const byte *b, size_t limit)
{
    size_t done = 0;
    uint64_t x, y;

    for (; done + 8 <= limit; done += 8) {
        memcpy(&x, a + done, 8);
        memcpy(&y, b + done, 8);
        if (x != y)
            break;
    }
    while (done < limit && a[done] == b[done])
        done++;
    return done;
}

/* How many bytes before a and b are the same. */
static size_t
common_suffix(const byte *a, const byte *b, size_t limit)
{
    size_t done = 0;
    uint64_t x, y;

    for (; done + 8 <= limit; done += 8) {
        memcpy(&x, a - done - 8, 8);
        memcpy(&y, b - done - 8, 8);
        if (x != y)
            break;
    }
    while (done < limit && a[-1 - (ptrdiff_t)done] == b[-1 - (ptrdiff_t)done])
        done++;
    return done;
}

/* ---- tokens ---- */

/* Goes over the tokens of a buffer: lines if oid_bytes is 0, else a tree's entries. */
struct tokens {
    const byte *at, *end;
    const byte *line_feed, *carriage_return; /* the next ones, or the end */
    int oid_bytes;
};

static const byte *
next_of(const byte *at, const byte *end, int what)
{
    const byte *found = at < end ? memchr(at, what, (size_t)(end - at)) : NULL;
    return found ? found : end;
}

static struct tokens
tokens_of(const byte *at, const byte *end, int oid_bytes)
{
    struct tokens t = {at, end, end, end, oid_bytes};

    if (!oid_bytes) {
        t.line_feed = next_of(at, end, '\n');
        t.carriage_return = next_of(at, end, '\r');
    }
    return t;
}

/* The end of the entry that begins at `at`, or NULL; *name is behind the mode's space. */
static const byte *
entry_end(const byte *at, const byte *end, int oid_bytes, const byte **name)
{
    const byte *p = at;

    while (p < end && *p >= '0' && *p <= '7')
        p++;
    if (p == at || p == end || *p != ' ')
        return NULL;
    *name = ++p;
    p = next_of(p, end, '\0');
    if (p == *name || end - p <= oid_bytes)
        return NULL;
    return p + 1 + oid_bytes;
}

/* Moves behind the next token, which begins where it was; LEFT if there is none (in a tree: no whole one). */
static enum verdict
next_token(struct tokens *t)
{
    const byte *name;

    if (t->at == t->end)
        return LEFT;
    if (t->oid_bytes) {
        const byte *end = entry_end(t->at, t->end, t->oid_bytes, &name);
        if (end == NULL)
            return LEFT;
        t->at = end;
        return GOOD;
    }
    if (t->line_feed < t->at)
        t->line_feed = next_of(t->at, t->end, '\n');
    if (t->carriage_return < t->at)
        t->carriage_return = next_of(t->at, t->end, '\r');
    if (t->carriage_return < t->line_feed)
        t->at = t->carriage_return + 1 + (t->carriage_return + 1 == t->line_feed && t->line_feed < t->end);
    else
        t->at = t->line_feed < t->end ? t->line_feed + 1 : t->end;
    return GOOD;
}

/* ---- where tokens of the base are ---- */

struct place {
    uint32_t at, length, hash; /* length 0: none */
};

struct index {
    const byte *base;
    struct place *places;
    size_t size, count; /* the size is a power of two */
};

static uint64_t seeds[2]; /* from the kernel, so that nobody can choose tokens that fall together */

static uint64_t
mixed(uint64_t a, uint64_t b)
{
    __uint128_t product = (__uint128_t)a * b; /* where there is none, this is not compiled and Python does it */
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint32_t
hash_of(const byte *token, size_t length)
{
    uint64_t hash = seeds[0] ^ length, word;

    for (; length >= 8; length -= 8, token += 8) {
        memcpy(&word, token, 8);
        hash = mixed(hash ^ word, seeds[1]);
    }
    word = 0;
    memcpy(&word, token, length);
    return (uint32_t)mixed(hash ^ word, seeds[1]);
}

/* The place of a token, or the free one where it would be. */
static struct place *
find_place(const struct index *x, const byte *token, size_t length, uint32_t hash)
{
    size_t i = hash & (x->size - 1);

    for (;; i = (i + 1) & (x->size - 1)) {
        struct place *p = x->places + i;
        if (!p->length || (p->hash == hash && p->length == length && !memcmp(x->base + p->at, token, length)))
            return p;
    }
}

static enum verdict
grow(struct index *x)
{
    struct index larger = {x->base, NULL, x->size * 4, x->count};

    larger.places = calloc(larger.size, sizeof *larger.places);
    if (larger.places == NULL)
        return FAILED;
    for (size_t n = 0; n < x->size; n++) {
        const struct place *p = x->places + n;
        if (p->length) {
            size_t i = p->hash & (larger.size - 1);
            while (larger.places[i].length)
                i = (i + 1) & (larger.size - 1);
            larger.places[i] = *p;
        }
    }
    free(x->places);
    *x = larger;
    return GOOD;
}

/* Index every token of the base by its bytes to its last place. */
static enum verdict
index_base(struct index *x, const byte *end, int oid_bytes)
{
    struct tokens t = tokens_of(x->base, end, oid_bytes);

    x->size = 256;
    x->places = calloc(x->size, sizeof *x->places);
    if (x->places == NULL)
        return FAILED;
    while (t.at < t.end) {
        const byte *token = t.at;
        if (next_token(&t) != GOOD)
            return LEFT;
        size_t length = (size_t)(t.at - token);
        uint32_t hash = hash_of(token, length);
        struct place *p = find_place(x, token, length, hash);
        if (!p->length) {
            *p = (struct place){0, (uint32_t)length, hash};
            x->count++;
        }
        p->at = (uint32_t)(token - x->base);
        if (2 * x->count > x->size && grow(x) != GOOD)
            return FAILED;
    }
    return GOOD;
}

/* ---- what is written ---- */

struct out {
    byte *bytes;
    size_t length, room;
};

static byte *
make_room(struct out *out, size_t more)
{
    if (out->room - out->length < more) {
        size_t room = 2 * out->room + more + 64;
        byte *bytes = realloc(out->bytes, room);
        if (bytes == NULL)
            return NULL;
        out->bytes = bytes;
        out->room = room;
    }
    return out->bytes + out->length;
}

static enum verdict
put_number(struct out *out, size_t number)
{
    byte *at = make_room(out, 10);

    if (at == NULL)
        return FAILED;
    for (; number > 0x7f; number >>= 7)
        *at++ = (byte)(number & 0x7f) | 0x80;
    *at++ = (byte)number;
    out->length = (size_t)(at - out->bytes);
    return GOOD;
}

static enum verdict
put_copy(struct out *out, size_t offset, size_t size)
{
    while (size) {
        size_t n = size < MAX_COPY ? size : MAX_COPY;
        byte *at = make_room(out, 7), *op = at;
        if (at == NULL)
            return FAILED;
        *at++ = 0x80;
        for (int bit = 0; bit < 4; bit++) {
            if (offset >> 8 * bit & 0xff) {
                *op |= (byte)(1 << bit);
                *at++ = (byte)(offset >> 8 * bit);
            }
        }
        for (int bit = 0; n != MAX_COPY && bit < 2; bit++) {
            if (n >> 8 * bit & 0xff) {
                *op |= (byte)(0x10 << bit);
                *at++ = (byte)(n >> 8 * bit);
            }
        }
        out->length = (size_t)(at - out->bytes);
        offset += n;
        size -= n;
    }
    return GOOD;
}

static enum verdict
put_insert(struct out *out, const byte *data, size_t size)
{
    while (size) {
        size_t n = size < MAX_INSERT ? size : MAX_INSERT;
        byte *at = make_room(out, n + 1);
        if (at == NULL)
            return FAILED;
        *at = (byte)n;
        memcpy(at + 1, data, n);
        out->length += n + 1;
        data += n;
        size -= n;
    }
    return GOOD;
}

/* ---- the delta ---- */

struct delta {
    const byte *base, *target;
    size_t base_length, target_length;
    int oid_bytes; /* of trees, 0 for blobs */
    struct out out;
};

/* The tokens that reach into the target from `from` to `end`; *start is where the first one does. */
static enum verdict
find_window(const struct delta *d, size_t from, size_t end, struct tokens *t)
{
    if (!d->oid_bytes) {
        *t = tokens_of(d->target + from, d->target + end, 0);
        return GOOD;
    }
    *t = tokens_of(d->target, d->target + d->target_length, d->oid_bytes);
    for (;;) {
        struct tokens next = *t;
        if (next_token(&next) != GOOD)
            return LEFT;
        if (next.at > d->target + from)
            return GOOD;
        *t = next;
    }
}

/* Whether the base may hold one of the window's tokens: GOOD, LEFT if it surely does not. */
static enum verdict
may_be_in_base(const struct delta *d, struct tokens t, size_t from, size_t end)
{
    for (int n = 0; t.at < d->target + end; n++) {
        const byte *start = t.at < d->target + from ? d->target + from : t.at;
        if (n == ASKED || next_token(&t) != GOOD)
            return GOOD;
        const byte *stop = t.at < d->target + end ? t.at : d->target + end;
        if (memmem(d->base, d->base_length, start, (size_t)(stop - start)) != NULL)
            return GOOD;
    }
    return LEFT;
}

static enum verdict
copy_what_moved(struct delta *d, struct index *x, struct tokens t, size_t *inserted, size_t end)
{
    size_t ins = *inserted;

    while (t.at < d->target + end) {
        size_t pos = (size_t)(t.at - d->target);
        if (next_token(&t) != GOOD)
            return LEFT;
        size_t stop = (size_t)(t.at - d->target);
        stop = stop < end ? stop : end;
        if (stop <= ins)
            continue;
        pos = pos > ins ? pos : ins;
        const struct place *p = find_place(x, d->target + pos, stop - pos, hash_of(d->target + pos, stop - pos));
        if (!p->length)
            continue;
        size_t at = p->at, most = d->base_length - at < end - pos ? d->base_length - at : end - pos;
        size_t after = common_prefix(d->base + at, d->target + pos, most);
        most = at < pos - ins ? at : pos - ins;
        size_t before = common_suffix(d->base + at, d->target + pos, most);
        if (after + before < MIN_MATCH)
            continue;
        if (put_insert(&d->out, d->target + ins, pos - before - ins) != GOOD
            || put_copy(&d->out, at - before, after + before) != GOOD)
            return FAILED;
        ins = pos + after;
    }
    *inserted = ins;
    return GOOD;
}

static enum verdict
make_delta(struct delta *d)
{
    size_t shorter = d->base_length < d->target_length ? d->base_length : d->target_length;
    size_t p = common_prefix(d->base, d->target, shorter);
    size_t s = common_suffix(d->base + d->base_length, d->target + d->target_length, shorter - p);
    p = p >= MIN_MATCH ? p : 0;
    s = s >= MIN_MATCH ? s : 0;
    size_t ins = p, end = d->target_length - s;

    if (put_number(&d->out, d->base_length) != GOOD || put_number(&d->out, d->target_length) != GOOD
        || put_copy(&d->out, 0, p) != GOOD)
        return FAILED;
    if (end - p >= MIN_MATCH) {
        struct tokens window;
        enum verdict verdict = find_window(d, p, end, &window);
        if (verdict != GOOD)
            return verdict;
        if (may_be_in_base(d, window, p, end) == GOOD) {
            struct index x = {.base = d->base};
            verdict = index_base(&x, d->base + d->base_length, d->oid_bytes);
            if (verdict == GOOD)
                verdict = copy_what_moved(d, &x, window, &ins, end);
            free(x.places);
            if (verdict != GOOD)
                return verdict;
        }
    }
    if (put_insert(&d->out, d->target + ins, end - ins) != GOOD
        || put_copy(&d->out, d->base_length - s, s) != GOOD)
        return FAILED;
    return GOOD;
}

PyDoc_STRVAR(delta_doc, "make_delta(base, target, oid_bytes) -- see gtfs/pack/quickdelta.py");

static PyObject *
deltas_make_delta(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    struct delta d = {0};
    const char *base, *target;
    Py_ssize_t base_length, target_length;
    PyObject *found = NULL;
    enum verdict verdict;

    if (!PyArg_ParseTuple(arguments, "y#y#i", &base, &base_length, &target, &target_length, &d.oid_bytes))
        return NULL;
    if (base_length >= WHOLE_MAX || target_length >= WHOLE_MAX)
        Py_RETURN_NONE;
    d.base = (const byte *)base;
    d.target = (const byte *)target;
    d.base_length = (size_t)base_length;
    d.target_length = (size_t)target_length;
    if (base_length + target_length > SLICE_BYTES) {
        Py_BEGIN_ALLOW_THREADS
        verdict = make_delta(&d);
        Py_END_ALLOW_THREADS
    }
    else
        verdict = make_delta(&d);
    if (verdict == GOOD)
        found = PyBytes_FromStringAndSize((const char *)d.out.bytes, (Py_ssize_t)d.out.length);
    else if (verdict == LEFT)
        found = Py_NewRef(Py_None);
    else
        PyErr_NoMemory();
    free(d.out.bytes);
    return found;
}

/* ---- what differs between two trees ---- */

struct entry {
    const byte *start, *name, *end; /* start NULL: none */
    size_t name_length;
    int is_tree;
};

/* The entry at `at`, none at the end. */
static enum verdict
read_entry(const byte *at, const byte *end, int oid_bytes, struct entry *e)
{
    uint32_t mode = 0;

    e->start = NULL;
    if (at == end)
        return GOOD;
    e->end = entry_end(at, end, oid_bytes, &e->name);
    if (e->end == NULL)
        return LEFT;
    e->start = at;
    e->name_length = (size_t)(e->end - oid_bytes - 1 - e->name);
    for (const byte *p = at; p < e->name - 1; p++)
        mode = mode << 3 | (uint32_t)(*p - '0'); /* what is shifted out does not count */
    e->is_tree = (mode & 0170000) == 0040000;
    return GOOD;
}

/* As git sorts, and `treediff._key`: a directory as if its name ended in a slash. */
static int
compare_keys(const struct entry *a, const struct entry *b)
{
    size_t shorter = a->name_length < b->name_length ? a->name_length : b->name_length;
    int order = memcmp(a->name, b->name, shorter);

    for (size_t i = shorter; !order; i++) {
        int x = i < a->name_length ? a->name[i] : i == a->name_length && a->is_tree ? '/' : -1;
        int y = i < b->name_length ? b->name[i] : i == b->name_length && b->is_tree ? '/' : -1;
        if (x < 0 && y < 0)
            break;
        order = x - y;
    }
    return order;
}

static enum verdict
append_entry(PyObject *list, const struct entry *e)
{
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)e->start, e->end - e->start);
    int failed = bytes == NULL || PyList_Append(list, bytes) < 0;

    Py_XDECREF(bytes);
    return failed ? FAILED : GOOD;
}

/* Moves to the next entry of a tree; LEFT also where its order ends. */
static enum verdict
advance(struct entry *e, const byte *end, int oid_bytes)
{
    struct entry before = *e;
    enum verdict verdict = read_entry(before.end, end, oid_bytes, e);

    return verdict == GOOD && e->start != NULL && compare_keys(&before, e) >= 0 ? LEFT : verdict;
}

static enum verdict
find_difference(const byte *a_end, const byte *b_end, struct entry a, struct entry b, int n, PyObject *gone, PyObject *come)
{
    enum verdict verdict = GOOD;

    while (verdict == GOOD && (a.start != NULL || b.start != NULL)) {
        int order = a.start == NULL ? 1 : b.start == NULL ? -1 : 0;
        if (!order) {
            int is_same = a.end - a.start == b.end - b.start && !memcmp(a.start, b.start, (size_t)(a.end - a.start));
            order = is_same ? 0 : compare_keys(&a, &b);
            if (!is_same && order <= 0)
                verdict = append_entry(gone, &a);
            if (!is_same && order >= 0 && verdict == GOOD)
                verdict = append_entry(come, &b);
        }
        else
            verdict = order < 0 ? append_entry(gone, &a) : append_entry(come, &b);
        if (verdict == GOOD && order <= 0)
            verdict = advance(&a, a_end, n);
        if (verdict == GOOD && order >= 0)
            verdict = advance(&b, b_end, n);
    }
    return verdict;
}

PyDoc_STRVAR(difference_doc, "difference(old, new, oid_bytes) -- see gtfs/pack/quickdelta.py");

static PyObject *
deltas_difference(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    const char *old, *new;
    Py_ssize_t old_length, new_length;
    struct entry a, b;
    int oid_bytes;
    PyObject *found = NULL;
    enum verdict verdict = FAILED;

    if (!PyArg_ParseTuple(arguments, "y#y#i", &old, &old_length, &new, &new_length, &oid_bytes))
        return NULL;
    const byte *a_end = (const byte *)old + old_length, *b_end = (const byte *)new + new_length;
    PyObject *gone = PyList_New(0), *come = PyList_New(0);
    if (gone != NULL && come != NULL) {
        verdict = read_entry((const byte *)old, a_end, oid_bytes, &a);
        if (verdict == GOOD)
            verdict = read_entry((const byte *)new, b_end, oid_bytes, &b);
        if (verdict == GOOD)
            verdict = find_difference(a_end, b_end, a, b, oid_bytes, gone, come);
    }
    if (verdict == GOOD)
        found = Py_BuildValue("OO", gone, come);
    else if (verdict == LEFT)
        found = Py_NewRef(Py_None);
    Py_XDECREF(gone);
    Py_XDECREF(come);
    return found;
}

/* ---- the module ---- */

static PyMethodDef methods[] = {
    {"make_delta", deltas_make_delta, METH_VARARGS, delta_doc},
    {"difference", deltas_difference, METH_VARARGS, difference_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, .m_name = "_deltas", .m_doc = "See gtfs/pack/quickdelta.py.", .m_methods = methods,
};

PyMODINIT_FUNC
PyInit__deltas(void)
{
    if (getrandom(seeds, sizeof seeds, 0) != sizeof seeds) {
        PyErr_SetString(PyExc_ImportError, "no random bytes"); /* then Python does it */
        return NULL;
    }
    seeds[1] |= 1;
    return PyModuleDef_Init(&module);
}
