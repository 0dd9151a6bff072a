/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The inner loops of gtfs.pack.scan, gtfs.pack.decode, gtfs.ingest.checkobjects and gtfs.repo.multipackindex, compiled
 * (see gtfs/pack/compiled.py).
 *
 * Nothing is refused here. Whatever is not plainly good, too large to take in one step, or over a limit makes a function
 * give None, and the Python beside it judges from the start: what is refused, why, and in which words stands there
 * alone. So this file must be right about one thing only, that what it gives is what the Python would give.
 *
 * Every input is read within the bounds of its buffer and once; sizes are 64 bits, and no number of an input above
 * NUMBER_MAX is taken. No state but the arguments' and locals'. The GIL is let go for work on more than SLICE_BYTES;
 * for less, getting it back from a busy thread would take longer than the work.
 */
#define Py_LIMITED_API 0x030b0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

enum { COMMIT = 1, TREE = 2, BLOB = 3, TAG = 4, REF_DELTA = 7 }; /* pack/format.py */

#define NUMBER_MAX ((int64_t)1 << 60)
#define TOTAL_MAX ((int64_t)1 << 62)
#define SLICE_BYTES (64 * 1024)
#define WHOLE_MAX (32 * 1024 * 1024) /* larger streams are for Python, whose steps can be interrupted; STREAM_BYTES of
                                      * pack/decode.py */
#define FREE_EXPANSION_BYTES ((int64_t)64 << 20) /* pack/account.py */
#define BASES_BYTES ((int64_t)64 << 20) /* of objects outside that are held at once; Python holds one at a time */
#define DELTA_HEAD_BYTES 20

/* What a step says. */
enum verdict {
    FAILED = -1, /* a Python exception is set */
    LEFT = 0,    /* for the Python to judge */
    GOOD = 1,
};

/* ---- numbers ---- */

/* A little-endian number in groups of seven bits, as deltas and entry headers have them; moves *at behind it. */
static enum verdict
read_number(const unsigned char *bytes, Py_ssize_t end, Py_ssize_t *at, int shift, int64_t *number)
{
    unsigned char byte;

    do {
        if (*at >= end || shift > 53)
            return LEFT;
        byte = bytes[(*at)++];
        *number |= (int64_t)(byte & 0x7f) << shift;
        shift += 7;
    } while (byte & 0x80);
    return *number < NUMBER_MAX ? GOOD : LEFT;
}

/* ---- the walk over a pack's entries ---- */

/* Limits of design.md section 13, in the order of the argument; none above TOTAL_MAX. */
struct limits {
    long long object_bytes, delta_bytes, delta_object_bytes, structure_bytes, expanded_bytes, expansion;
};

/* What `account.Account` adds up. */
struct account {
    int64_t largest, expanded, structure, made;
    PyObject *credit; /* dict: by the id of a base outside, what its deltas may copy from it */
};

struct entry {
    Py_ssize_t offset, data, end;
    int kind;
    int64_t size, result_size;
    PyObject *base;    /* bytes, or NULL */
    PyObject *content; /* bytes, or NULL where it was not kept */
};

struct walk {
    const unsigned char *bytes;
    Py_ssize_t end; /* of the entries; behind it are the trailer's bytes, or more */
    int oid_bytes;
    struct limits limits;
    struct account account;
    int64_t keep;
    z_stream zlib;
    unsigned char *scratch; /* SLICE_BYTES, for what is not kept */
};

static enum verdict
read_base(const struct walk *w, struct entry *e)
{
    if (w->end - e->data <= w->oid_bytes)
        return LEFT;
    e->base = PyBytes_FromStringAndSize((const char *)w->bytes + e->data, w->oid_bytes);
    if (e->base == NULL)
        return FAILED;
    e->data += w->oid_bytes;
    return GOOD;
}

/* Kind, size and base; `data` is where the zlib stream starts. */
static enum verdict
read_header(const struct walk *w, struct entry *e)
{
    unsigned char first;
    enum verdict verdict = GOOD;

    e->data = e->offset;
    if (e->data >= w->end)
        return LEFT;
    first = w->bytes[e->data++];
    e->kind = first >> 4 & 7;
    e->size = first & 15;
    if (first & 0x80) {
        if (!read_number(w->bytes, w->end, &e->data, 4, &e->size))
            return LEFT;
        if (w->bytes[e->data - 1] == 0) /* longer than it has to be */
            return LEFT;
    }
    if (e->kind == REF_DELTA)
        verdict = read_base(w, e);
    else if (e->kind < COMMIT || e->kind > TAG) /* deltas by offset, too: no commit pack has them */
        verdict = LEFT;
    if (verdict == GOOD && e->data >= w->end)
        verdict = LEFT;
    return verdict;
}

static enum verdict
add_object(struct walk *w, int64_t size)
{
    struct account *a = &w->account;

    if (size > w->limits.object_bytes || size > w->limits.expanded_bytes - a->expanded)
        return LEFT;
    a->expanded += size;
    if (size > a->largest)
        a->largest = size;
    return GOOD;
}

static enum verdict
add_whole(struct walk *w, const struct entry *e)
{
    if (e->kind != BLOB) {
        if (e->size > w->limits.structure_bytes - w->account.structure)
            return LEFT;
        w->account.structure += e->size;
    }
    return add_object(w, e->size);
}

/* Take what deltas may copy from a base outside off what they make of nothing, once for each base. */
static enum verdict
give_credit(struct account *a, PyObject *base, int64_t credit)
{
    PyObject *number;
    int failed, known = PyDict_Contains(a->credit, base);

    if (known)
        return known < 0 ? FAILED : GOOD;
    number = PyLong_FromLongLong(credit);
    if (number == NULL)
        return FAILED;
    failed = PyDict_SetItem(a->credit, base, number);
    Py_DECREF(number);
    if (failed)
        return FAILED;
    a->made -= credit;
    return GOOD;
}

static enum verdict
add_delta(struct walk *w, const struct entry *e, int64_t base_size)
{
    struct account *a = &w->account;
    int64_t larger = base_size > e->result_size ? base_size : e->result_size;

    if (e->size > w->limits.delta_bytes || larger > w->limits.object_bytes || larger > w->limits.delta_object_bytes)
        return LEFT;
    if (!add_object(w, e->result_size)) /* holds the sum, and so `made`, below TOTAL_MAX */
        return LEFT;
    a->made += e->result_size;
    if (e->base != NULL) {
        int64_t credit = base_size < e->result_size ? base_size : e->result_size;
        enum verdict verdict = give_credit(a, e->base, credit);
        if (verdict != GOOD)
            return verdict;
    }
    if (a->made > FREE_EXPANSION_BYTES && a->made / w->end >= w->limits.expansion)
        return LEFT; /* at the limit or over it */
    return GOOD;
}

/* Inflate from the entry's data on, all of it into `out`; true if the stream has exactly `size` bytes. */
static int
inflate_whole(z_stream *zlib, unsigned char *out, int64_t size)
{
    zlib->next_out = out;
    zlib->avail_out = (uInt)size;
    return inflate(zlib, Z_FINISH) == Z_STREAM_END && zlib->avail_out == 0;
}

/* The same for its length alone; the first `head_size` bytes go to `head`. */
static int
inflate_through(z_stream *zlib, unsigned char *scratch, int64_t size, unsigned char *head, int64_t head_size)
{
    int64_t got = 0;
    int said;

    do {
        int64_t piece, wanted;
        zlib->next_out = scratch;
        zlib->avail_out = SLICE_BYTES;
        said = inflate(zlib, Z_NO_FLUSH);
        piece = SLICE_BYTES - zlib->avail_out;
        wanted = head_size - got;
        if (wanted > piece)
            wanted = piece;
        if (wanted > 0)
            memcpy(head + got, scratch, (size_t)wanted);
        got += piece;
    } while (said == Z_OK && got <= size);
    return said == Z_STREAM_END && got == size;
}

/* Inflate the entry's stream, kept or not; `head` gets up to DELTA_HEAD_BYTES of it. */
static enum verdict
read_stream(struct walk *w, struct entry *e, unsigned char *head, Py_ssize_t *head_size)
{
    PyThreadState *running = NULL;
    Py_ssize_t left = w->end - e->data;
    int good, kept = e->size <= w->keep;

    if (e->size > WHOLE_MAX || inflateReset(&w->zlib) != Z_OK)
        return LEFT;
    if (kept) {
        e->content = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)e->size);
        if (e->content == NULL)
            return FAILED;
    }
    *head_size = e->size < DELTA_HEAD_BYTES ? (Py_ssize_t)e->size : DELTA_HEAD_BYTES;
    w->zlib.next_in = (unsigned char *)w->bytes + e->data;
    w->zlib.avail_in = left > UINT_MAX ? UINT_MAX : (uInt)left;
    if (e->size > SLICE_BYTES)
        running = PyEval_SaveThread();
    if (kept)
        good = inflate_whole(&w->zlib, (unsigned char *)PyBytes_AsString(e->content), e->size);
    else
        good = inflate_through(&w->zlib, w->scratch, e->size, head, *head_size);
    if (running != NULL)
        PyEval_RestoreThread(running);
    if (!good)
        return LEFT;
    if (kept) {
        memcpy(head, PyBytes_AsString(e->content), (size_t)*head_size);
        w->keep -= e->size;
    }
    e->end = w->zlib.next_in - w->bytes;
    return GOOD;
}

static enum verdict
read_entry(struct walk *w, struct entry *e)
{
    unsigned char head[DELTA_HEAD_BYTES];
    Py_ssize_t head_size = 0, pos = 0;
    int64_t base_size = 0;
    enum verdict verdict = read_header(w, e);

    if (verdict == GOOD && e->kind != REF_DELTA)
        verdict = add_whole(w, e); /* before anything is inflated */
    if (verdict == GOOD)
        verdict = read_stream(w, e, head, &head_size);
    if (verdict != GOOD)
        return verdict;
    if (e->kind != REF_DELTA) {
        e->result_size = e->size;
        return GOOD;
    }
    if (!read_number(head, head_size, &pos, 0, &base_size) || !read_number(head, head_size, &pos, 0, &e->result_size))
        return LEFT;
    return add_delta(w, e, base_size);
}

/* Add the entry's fields in the order of `scan.Entry`, and its content; on failure an exception is set. */
static int
put_entry(PyObject *rows, PyObject *inflated, const struct entry *e)
{
    PyObject *offset = PyLong_FromSsize_t(e->offset);
    PyObject *row = NULL;
    int failed = -1;

    if (offset != NULL)
        row = Py_BuildValue("OiLOOnnL", offset, e->kind, (long long)e->size, e->base == NULL ? Py_None : e->base,
                            Py_None, e->data, e->end, (long long)e->result_size);
    if (row != NULL)
        failed = PyList_Append(rows, row);
    if (!failed && e->content != NULL)
        failed = PyDict_SetItem(inflated, offset, e->content);
    Py_XDECREF(row);
    Py_XDECREF(offset);
    return failed;
}

static enum verdict
walk_entries(struct walk *w, Py_ssize_t at, Py_ssize_t count, PyObject *rows, PyObject *inflated)
{
    enum verdict verdict = GOOD;

    for (; count > 0 && verdict == GOOD; count--) {
        struct entry e = {.offset = at};
        verdict = read_entry(w, &e);
        if (verdict == GOOD && put_entry(rows, inflated, &e) < 0)
            verdict = FAILED;
        Py_XDECREF(e.base);
        Py_XDECREF(e.content);
        at = e.end;
    }
    w->end = at;
    return verdict;
}

/* Walk with what the caller has put into `w`, and give the result of `compiled.walk`. */
static PyObject *
walk_with(struct walk *w, Py_ssize_t at, Py_ssize_t count)
{
    PyObject *found = NULL, *rows = PyList_New(0), *inflated = PyDict_New();
    enum verdict verdict = FAILED;

    w->account.credit = PyDict_New();
    w->scratch = PyMem_Malloc(SLICE_BYTES);
    if (w->scratch == NULL)
        PyErr_NoMemory();
    else if (rows != NULL && inflated != NULL && w->account.credit != NULL) {
        verdict = inflateInit(&w->zlib) == Z_OK ? GOOD : LEFT;
        if (verdict == GOOD) {
            verdict = walk_entries(w, at, count, rows, inflated);
            inflateEnd(&w->zlib);
        }
    }
    if (verdict == GOOD)
        found = Py_BuildValue("OnO(LLLLO)", rows, w->end, inflated, (long long)w->account.largest,
                              (long long)w->account.expanded, (long long)w->account.structure,
                              (long long)w->account.made, w->account.credit);
    else if (verdict == LEFT)
        found = Py_NewRef(Py_None);
    PyMem_Free(w->scratch);
    Py_XDECREF(w->account.credit);
    Py_XDECREF(rows);
    Py_XDECREF(inflated);
    return found;
}

static PyObject *
compiled_walk(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    struct walk w = {0};
    struct limits *l = &w.limits;
    Py_buffer pack;
    Py_ssize_t start, count;
    long long keep;
    PyObject *found = NULL;

    if (!PyArg_ParseTuple(arguments, "y*nnniL(LLLLLL)", &pack, &start, &w.end, &count, &w.oid_bytes, &keep,
                          &l->object_bytes, &l->delta_bytes, &l->delta_object_bytes, &l->structure_bytes,
                          &l->expanded_bytes, &l->expansion))
        return NULL;
    w.bytes = pack.buf;
    w.keep = keep;
    if (start < 0 || w.end < start || w.end > pack.len)
        PyErr_SetString(PyExc_ValueError, "entries outside of the pack");
    else if ((w.oid_bytes != 20 && w.oid_bytes != 32) || l->expanded_bytes > TOTAL_MAX || l->structure_bytes > TOTAL_MAX)
        PyErr_SetString(PyExc_ValueError, "no length of an id, or a limit that is too high");
    else
        found = walk_with(&w, start, count);
    PyBuffer_Release(&pack);
    return found;
}

/* ---- deltas ---- */

/* One copy instruction whose first byte is `code`: where in the base, and how much. */
static enum verdict
read_copy(const unsigned char *delta, Py_ssize_t end, Py_ssize_t *at, unsigned char code, uint32_t *from, uint32_t *size)
{
    int i;

    *from = *size = 0;
    for (i = 0; i < 7; i++) {
        if (!(code & 1 << i))
            continue;
        if (*at >= end)
            return LEFT;
        if (i < 4)
            *from |= (uint32_t)delta[(*at)++] << 8 * i;
        else
            *size |= (uint32_t)delta[(*at)++] << 8 * (i - 4);
    }
    if (*size == 0)
        *size = 0x10000;
    return GOOD;
}

/* Follow the instructions of `delta` from `at` on; GOOD if they fill `out` exactly. */
static enum verdict
follow_delta(const Py_buffer *base, const Py_buffer *delta, Py_ssize_t at, unsigned char *out, Py_ssize_t room)
{
    const unsigned char *bytes = delta->buf, *from = base->buf;

    while (at < delta->len) {
        unsigned char code = bytes[at++];
        if (code & 0x80) {
            uint32_t offset, size;
            if (!read_copy(bytes, delta->len, &at, code, &offset, &size))
                return LEFT;
            if (size > room || offset > base->len || size > base->len - offset)
                return LEFT;
            memcpy(out, from + offset, size);
            out += size;
            room -= size;
        } else {
            if (code == 0 || code > room || code > delta->len - at)
                return LEFT;
            memcpy(out, bytes + at, code);
            at += code;
            out += code;
            room -= code;
        }
    }
    return room == 0 ? GOOD : LEFT;
}

static PyObject *
apply_to(const Py_buffer *base, const Py_buffer *delta, Py_ssize_t size)
{
    int64_t base_size = 0, result_size = 0;
    Py_ssize_t at = 0;
    PyObject *result;
    unsigned char *out;
    PyThreadState *running = NULL;
    enum verdict verdict;

    if (!read_number(delta->buf, delta->len, &at, 0, &base_size) ||
        !read_number(delta->buf, delta->len, &at, 0, &result_size) || base_size != base->len || result_size != size)
        return Py_NewRef(Py_None);
    result = PyBytes_FromStringAndSize(NULL, size);
    if (result == NULL)
        return NULL;
    out = (unsigned char *)PyBytes_AsString(result);
    if (size > SLICE_BYTES)
        running = PyEval_SaveThread();
    verdict = follow_delta(base, delta, at, out, size);
    if (running != NULL)
        PyEval_RestoreThread(running);
    if (verdict == GOOD)
        return result;
    Py_DECREF(result);
    return Py_NewRef(Py_None);
}

/* The same for two bytes objects. */
static PyObject *
apply_bytes(PyObject *base, PyObject *delta, Py_ssize_t size)
{
    Py_buffer from, with;
    PyObject *result = NULL;

    if (PyObject_GetBuffer(base, &from, PyBUF_SIMPLE) < 0)
        return NULL;
    if (PyObject_GetBuffer(delta, &with, PyBUF_SIMPLE) == 0) {
        result = apply_to(&from, &with, size);
        PyBuffer_Release(&with);
    }
    PyBuffer_Release(&from);
    return result;
}

static PyObject *
compiled_apply(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    Py_buffer base, delta;
    Py_ssize_t size;
    PyObject *result;

    if (!PyArg_ParseTuple(arguments, "y*y*n", &base, &delta, &size))
        return NULL;
    result = apply_to(&base, &delta, size);
    PyBuffer_Release(&base);
    PyBuffer_Release(&delta);
    return result;
}

/* ---- the objects of a pack ---- */

#define HEADER_ROOM 32
#define JOINED_BYTES 4096 /* less than this is hashed in one call, with its header */

enum { AT_OFFSET, AT_KIND, AT_SIZE, AT_BASE, AT_BASE_OFFSET, AT_DATA, AT_END, AT_RESULT_SIZE }; /* scan.Entry */

struct objects {
    PyObject *inflated, *lookup, *new_hash; /* of the caller */
    PyObject *bases;                        /* dict: what `lookup` gave, by id */
    PyObject *own;                          /* dict, whose keys are the ids of the pack */
    PyObject *rows;                         /* list: fields of `decode.Decoded` */
    Py_ssize_t oid_bytes;
    long long structure, room; /* bytes that deltas have made of commits, trees and tags, and may make */
    int64_t bases_bytes;       /* of what `bases` holds */
};

/* hash(header + data), or the same in two steps; NULL and an exception on failure. */
static PyObject *
begin_hash(PyObject *new_hash, const char *header, Py_ssize_t header_size, PyObject *data)
{
    Py_ssize_t size = PyBytes_Size(data);
    PyObject *begun, *said, *hash = NULL;

    if (size < JOINED_BYTES) {
        begun = PyBytes_FromStringAndSize(NULL, header_size + size);
        if (begun != NULL) {
            memcpy(PyBytes_AsString(begun), header, (size_t)header_size);
            memcpy(PyBytes_AsString(begun) + header_size, PyBytes_AsString(data), (size_t)size);
        }
    } else
        begun = PyBytes_FromStringAndSize(header, header_size);
    if (begun != NULL)
        hash = PyObject_CallFunctionObjArgs(new_hash, begun, NULL);
    Py_XDECREF(begun);
    if (hash != NULL && size >= JOINED_BYTES) {
        said = PyObject_CallMethod(hash, "update", "O", data);
        if (said == NULL)
            Py_CLEAR(hash);
        Py_XDECREF(said);
    }
    return hash;
}

/* `ids.ObjectFormat.hash_object`. */
static PyObject *
hash_object(const struct objects *o, int kind, PyObject *data)
{
    static const char *const names[] = {"", "commit", "tree", "blob", "tag"};
    char header[HEADER_ROOM];
    int header_size = snprintf(header, sizeof header, "%s %lld", names[kind], (long long)PyBytes_Size(data)) + 1;
    PyObject *oid = NULL, *hash = begin_hash(o->new_hash, header, header_size, data);

    if (hash != NULL)
        oid = PyObject_CallMethod(hash, "digest", NULL);
    Py_XDECREF(hash);
    if (oid != NULL && (!PyBytes_Check(oid) || PyBytes_Size(oid) != o->oid_bytes)) {
        PyErr_SetString(PyExc_ValueError, "a hash of another length");
        Py_CLEAR(oid);
    }
    return oid;
}

/* One object is done; it takes the place of its entry's number. */
static enum verdict
put_object(struct objects *o, Py_ssize_t number, PyObject *entry, int kind, PyObject *data)
{
    PyObject *row, *oid;

    if (kind == BLOB && PyBytes_Size(data) > WHOLE_MAX) /* is hashed as it passes, and not held */
        return LEFT;
    oid = hash_object(o, kind, data);
    if (oid == NULL)
        return FAILED;
    row = Py_BuildValue("OinOO", oid, kind, PyBytes_Size(data), data, entry);
    if (PyDict_SetItem(o->own, oid, Py_None) < 0 || row == NULL || PyList_SetItem(o->rows, number, Py_NewRef(row)) < 0) {
        Py_DECREF(oid);
        Py_XDECREF(row);
        return FAILED;
    }
    Py_DECREF(oid);
    Py_DECREF(row);
    return GOOD;
}

/* The stream of an entry that the walk has kept, borrowed; NULL where it has not, or an exception is set. */
static PyObject *
kept_stream(const struct objects *o, PyObject *entry)
{
    PyObject *data = PyDict_GetItemWithError(o->inflated, PyTuple_GetItem(entry, AT_OFFSET));

    return data != NULL && PyBytes_Check(data) ? data : NULL;
}

/* Kind and contents of a base outside of the pack, borrowed. */
static enum verdict
find_base(struct objects *o, PyObject *id, int *kind, PyObject **data)
{
    PyObject *found = PyDict_GetItemWithError(o->bases, id);
    int is_new = found == NULL;

    if (is_new) {
        int known = PyErr_Occurred() ? -1 : PyDict_Contains(o->own, id);
        if (known != 0)
            return known < 0 ? FAILED : LEFT;
        found = PyObject_CallFunctionObjArgs(o->lookup, id, NULL);
        if (found == NULL)
            return FAILED;
        known = PyDict_SetItem(o->bases, id, found);
        Py_DECREF(found); /* the dict holds it */
        if (known < 0)
            return FAILED;
    }
    if (!PyTuple_Check(found) || PyTuple_Size(found) != 2)
        return LEFT;
    *kind = (int)PyLong_AsLong(PyTuple_GetItem(found, 0));
    *data = PyTuple_GetItem(found, 1);
    if (PyErr_Occurred())
        return FAILED;
    if (*kind < COMMIT || *kind > TAG || !PyBytes_Check(*data))
        return LEFT;
    if (is_new)
        o->bases_bytes += PyBytes_Size(*data);
    return o->bases_bytes <= BASES_BYTES ? GOOD : LEFT;
}

static enum verdict
resolve_delta(struct objects *o, Py_ssize_t number, PyObject *entry, PyObject *delta)
{
    PyObject *base = NULL, *made, *id = PyTuple_GetItem(entry, AT_BASE);
    Py_ssize_t size = PyLong_AsSsize_t(PyTuple_GetItem(entry, AT_RESULT_SIZE));
    int kind = 0;
    enum verdict verdict;

    if (PyErr_Occurred())
        return FAILED;
    verdict = PyBytes_Check(id) && size <= WHOLE_MAX ? find_base(o, id, &kind, &base) : LEFT;
    if (verdict != GOOD)
        return verdict;
    if (kind != BLOB) {
        if (size > o->room - o->structure)
            return LEFT;
        o->structure += size;
    }
    made = apply_bytes(base, delta, size);
    if (made == NULL)
        return FAILED;
    verdict = made == Py_None ? LEFT : put_object(o, number, entry, kind, made);
    Py_DECREF(made);
    return verdict;
}

/* All whole objects, or then all deltas, as what deltas stand on may come behind them. */
static enum verdict
resolve_pass(struct objects *o, PyObject *entries, int deltas)
{
    Py_ssize_t i, count = PyTuple_Size(entries);
    enum verdict verdict = GOOD;

    for (i = 0; i < count && verdict == GOOD; i++) {
        PyObject *data, *entry = PyTuple_GetItem(entries, i);
        int kind;
        if (!PyTuple_Check(entry) || PyTuple_Size(entry) != AT_RESULT_SIZE + 1) {
            PyErr_SetString(PyExc_TypeError, "no entries of a scan");
            return FAILED;
        }
        kind = (int)PyLong_AsLong(PyTuple_GetItem(entry, AT_KIND));
        if (PyErr_Occurred())
            return FAILED;
        if (kind != REF_DELTA && (kind < COMMIT || kind > TAG))
            return LEFT;
        if ((kind == REF_DELTA) != deltas)
            continue;
        data = kept_stream(o, entry);
        if (data == NULL)
            verdict = PyErr_Occurred() ? FAILED : LEFT;
        else
            verdict = deltas ? resolve_delta(o, i, entry, data) : put_object(o, i, entry, kind, data);
    }
    return verdict;
}

/* LEFT if something stands on an object of this pack: how deep, is counted elsewhere. */
static enum verdict
bases_are_outside(const struct objects *o)
{
    PyObject *id;
    Py_ssize_t at = 0;

    while (PyDict_Next(o->bases, &at, &id, NULL)) {
        int known = PyDict_Contains(o->own, id);
        if (known != 0)
            return known < 0 ? FAILED : LEFT;
    }
    return GOOD;
}

static PyObject *
compiled_resolve(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    struct objects o = {0};
    PyObject *entries, *found = NULL;
    enum verdict verdict = FAILED;

    if (!PyArg_ParseTuple(arguments, "O!O!OOnL", &PyTuple_Type, &entries, &PyDict_Type, &o.inflated, &o.lookup,
                          &o.new_hash, &o.oid_bytes, &o.room))
        return NULL;
    o.bases = PyDict_New();
    o.own = PyDict_New();
    o.rows = PyList_New(PyTuple_Size(entries));
    if (o.bases != NULL && o.own != NULL && o.rows != NULL)
        verdict = resolve_pass(&o, entries, 0);
    if (verdict == GOOD)
        verdict = resolve_pass(&o, entries, 1);
    if (verdict == GOOD)
        verdict = bases_are_outside(&o);
    if (verdict == GOOD)
        found = Py_BuildValue("OL", o.rows, o.structure);
    else if (verdict == LEFT)
        found = Py_NewRef(Py_None);
    Py_XDECREF(o.bases);
    Py_XDECREF(o.own);
    Py_XDECREF(o.rows);
    return found;
}

/* ---- trees ---- */

#define MOST_LISTED (1 << 20) /* entries that are given back: they take more memory than the tree itself */
#define OPEN_NAMES 32 /* names that start with one another, as deep as ordinary trees go and deeper */

struct name {
    const unsigned char *bytes;
    Py_ssize_t size;
};

struct tree_entry {
    const unsigned char *start; /* of the mode */
    Py_ssize_t mode_size;
    int kind, is_link;
    struct name name;
    const unsigned char *oid;
};

struct look {
    Py_ssize_t oid_bytes, component_bytes;
    const unsigned char *firsts; /* 256 flags: whether a member's id starts with this byte */
    PyObject *members;           /* whose keys are ids */
    PyObject *children, *remarkable;
    int has_links;
    /* Names of files that all names since start with: a directory of that name would be the same name again, though it
     * stands elsewhere in git's order. */
    struct name open[OPEN_NAMES];
    int opened;
};

/* One of the modes that git writes; of a constant length, for the compiler to compare as numbers. */
#define MODE(text, which, link)                                                                                          \
    if (room >= (Py_ssize_t)sizeof text - 1 && memcmp(at, text, sizeof text - 1) == 0) {                                 \
        e->start = at;                                                                                                   \
        e->mode_size = sizeof text - 2;                                                                                  \
        e->kind = which;                                                                                                 \
        e->is_link = link;                                                                                               \
        return GOOD;                                                                                                     \
    }

static enum verdict
read_mode(const unsigned char *at, Py_ssize_t room, struct tree_entry *e)
{
    MODE("100644 ", BLOB, 0)
    MODE("40000 ", TREE, 0)
    MODE("100755 ", BLOB, 0)
    MODE("120000 ", BLOB, 1)
    MODE("160000 ", COMMIT, 0)
    return LEFT;
}

/* The whole entry at `at`, which is held to end before `end`. */
static enum verdict
read_tree_entry(const struct look *l, const unsigned char *at, const unsigned char *end, struct tree_entry *e)
{
    const unsigned char *name, *nul;

    if (!read_mode(at, end - at, e))
        return LEFT;
    name = at + e->mode_size + 1;
    nul = memchr(name, 0, (size_t)(end - name));
    if (nul == NULL || nul == name || nul - name > l->component_bytes || end - nul <= l->oid_bytes)
        return LEFT;
    e->name.bytes = name;
    e->name.size = nul - name;
    e->oid = nul + 1;
    return GOOD;
}

/* Bytes with which `names.any_remarkable` may find something: those of control, slashes both ways, ~, DEL, 0xe2 and 0xef. */
static const unsigned char remarkable_bytes[256] = {
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    ['/'] = 1, ['\\'] = 1, ['~'] = 1, [0x7f] = 1, [0xe2] = 1, [0xef] = 1,
};

/* Whether it may find something in the name; true for some in which it does not. */
static int
may_be_remarkable(const struct name *name)
{
    Py_ssize_t i = 0;

    if (name->bytes[0] == '.')
        return 1;
    while (i < name->size && !remarkable_bytes[name->bytes[i]])
        i++;
    return i < name->size;
}

/* The byte behind a common prefix of `size` bytes, as git orders names: a directory's ends in a slash. */
static int
next_byte(const struct tree_entry *e, Py_ssize_t size)
{
    if (size < e->name.size)
        return e->name.bytes[size];
    return e->kind == TREE ? '/' : 0;
}

static int
stands_before(const struct tree_entry *a, const struct tree_entry *b)
{
    Py_ssize_t size = a->name.size < b->name.size ? a->name.size : b->name.size;
    int order = memcmp(a->name.bytes, b->name.bytes, (size_t)size);

    return order < 0 || (order == 0 && next_byte(a, size) < next_byte(b, size));
}

static int
starts_with(const struct name *name, const struct name *prefix)
{
    return prefix->size <= name->size && memcmp(name->bytes, prefix->bytes, (size_t)prefix->size) == 0;
}

/* LEFT where a directory has the name of a file before it. */
static enum verdict
note_name(struct look *l, const struct tree_entry *e)
{
    while (l->opened > 0 && !starts_with(&e->name, &l->open[l->opened - 1]))
        l->opened--;
    if (e->kind == TREE)
        return l->opened > 0 && l->open[l->opened - 1].size == e->name.size ? LEFT : GOOD;
    if (l->opened == OPEN_NAMES)
        return LEFT;
    l->open[l->opened++] = e->name;
    return GOOD;
}

static int
is_null(const unsigned char *oid, Py_ssize_t size)
{
    while (size > 0 && oid[size - 1] == 0)
        size--;
    return size == 0;
}

static enum verdict
add_child(struct look *l, const struct tree_entry *e)
{
    PyObject *child, *oid;
    int known;

    if (e->kind == COMMIT || !l->firsts[e->oid[0]])
        return GOOD;
    oid = PyBytes_FromStringAndSize((const char *)e->oid, l->oid_bytes);
    if (oid == NULL)
        return FAILED;
    known = PyDict_Contains(l->members, oid);
    if (known == 1 && PyList_Size(l->children) >= MOST_LISTED) {
        Py_DECREF(oid);
        return LEFT;
    }
    if (known == 1) {
        child = Py_BuildValue("iO", e->kind, oid);
        known = child == NULL ? -1 : PyList_Append(l->children, child);
        Py_XDECREF(child);
    }
    Py_DECREF(oid);
    return known < 0 ? FAILED : GOOD;
}

static enum verdict
add_remarkable(struct look *l, const struct tree_entry *e)
{
    PyObject *entry;
    int failed;

    if (PyList_Size(l->remarkable) >= MOST_LISTED)
        return LEFT;
    entry = Py_BuildValue("y#y#y#", e->start, e->mode_size, e->name.bytes, e->name.size, e->oid, l->oid_bytes);
    failed = entry == NULL ? -1 : PyList_Append(l->remarkable, entry);
    Py_XDECREF(entry);
    return failed ? FAILED : GOOD;
}

static enum verdict
look_at_entry(struct look *l, const struct tree_entry *e)
{
    enum verdict verdict;

    if (is_null(e->oid, l->oid_bytes))
        return LEFT;
    verdict = note_name(l, e);
    if (verdict == GOOD && may_be_remarkable(&e->name))
        verdict = add_remarkable(l, e);
    if (verdict == GOOD)
        verdict = add_child(l, e);
    l->has_links |= e->is_link;
    return verdict;
}

static enum verdict
look_at_tree(struct look *l, const unsigned char *at, const unsigned char *end)
{
    struct tree_entry before = {0}, e = {0};
    enum verdict verdict = GOOD;

    while (at < end && verdict == GOOD) {
        verdict = read_tree_entry(l, at, end, &e);
        if (verdict == GOOD && before.start != NULL && !stands_before(&before, &e))
            verdict = LEFT;
        if (verdict == GOOD)
            verdict = look_at_entry(l, &e);
        if (verdict == GOOD)
            at = e.oid + l->oid_bytes;
        before = e;
    }
    return verdict;
}

static PyObject *
compiled_look(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    struct look l = {0};
    Py_buffer tree, firsts;
    PyObject *found = NULL;
    enum verdict verdict = FAILED;

    if (!PyArg_ParseTuple(arguments, "y*nnO!y*", &tree, &l.oid_bytes, &l.component_bytes, &PyDict_Type, &l.members,
                          &firsts))
        return NULL;
    l.firsts = firsts.buf;
    l.children = PyList_New(0);
    l.remarkable = PyList_New(0);
    if ((l.oid_bytes != 20 && l.oid_bytes != 32) || firsts.len != 256)
        PyErr_SetString(PyExc_ValueError, "no length of an id, or not 256 flags");
    else if (l.children != NULL && l.remarkable != NULL)
        verdict = look_at_tree(&l, tree.buf, (const unsigned char *)tree.buf + tree.len);
    if (verdict == GOOD)
        found = Py_BuildValue("OOO", l.children, l.remarkable, l.has_links ? Py_True : Py_False);
    else if (verdict == LEFT)
        found = Py_NewRef(Py_None);
    Py_XDECREF(l.children);
    Py_XDECREF(l.remarkable);
    PyBuffer_Release(&tree);
    PyBuffer_Release(&firsts);
    return found;
}

/* ---- one index over many packs ---- */

#define FAR_OFFSET ((uint32_t)1 << 31) /* of a row: not an offset, but the place of one of 8 bytes */
#define ROW_BYTES 8                    /* number of the pack, offset */

/* Of one pack, its names that are still to come; none is before the one before it. */
struct part {
    const unsigned char *name, *end, *offset, *far;
    Py_ssize_t fars;
    uint64_t head; /* the first 8 bytes of `name`, which nearly always decide */
    uint32_t number;
};

struct merge {
    struct part *parts;
    int *heap; /* places in `parts`, the least name first; of equal ones the part that stands first */
    int left;  /* of `heap` */
    size_t oid_bytes;
    uint32_t fars_before;
    unsigned char *names, *rows, *far; /* what is made, and how much: */
    Py_ssize_t made, made_far;
};

static uint32_t
read_32(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static void
write_32(unsigned char *bytes, uint32_t number)
{
    bytes[0] = (unsigned char)(number >> 24);
    bytes[1] = (unsigned char)(number >> 16);
    bytes[2] = (unsigned char)(number >> 8);
    bytes[3] = (unsigned char)number;
}

static uint64_t
head_of(const unsigned char *name)
{
    return (uint64_t)read_32(name) << 32 | read_32(name + 4);
}

static int
is_before(const struct merge *m, int one, int other)
{
    const struct part *a = &m->parts[one], *b = &m->parts[other];
    int order;

    if (a->head != b->head)
        return a->head < b->head;
    order = memcmp(a->name, b->name, m->oid_bytes);
    return order != 0 ? order < 0 : one < other;
}

static void
sift_down(struct merge *m, int at)
{
    int moving = m->heap[at], child;

    while ((child = 2 * at + 1) < m->left) {
        if (child + 1 < m->left && is_before(m, m->heap[child + 1], m->heap[child]))
            child++;
        if (!is_before(m, m->heap[child], moving))
            break;
        m->heap[at] = m->heap[child];
        at = child;
    }
    m->heap[at] = moving;
}

static enum verdict
merge_parts(struct merge *m)
{
    int i;

    for (i = m->left / 2 - 1; i >= 0; i--)
        sift_down(m, i);
    while (m->left > 0) {
        struct part *p = &m->parts[m->heap[0]];
        const unsigned char *name = p->name;
        uint32_t offset = read_32(p->offset);

        /* An object that several packs have is the first one's. */
        if (m->made == 0 || memcmp(m->names + (size_t)(m->made - 1) * m->oid_bytes, name, m->oid_bytes) != 0) {
            if (offset & FAR_OFFSET) {
                if ((Py_ssize_t)(offset & ~FAR_OFFSET) >= p->fars || m->fars_before + m->made_far >= FAR_OFFSET)
                    return LEFT;
                memcpy(m->far + 8 * m->made_far, p->far + 8 * (size_t)(offset & ~FAR_OFFSET), 8);
                offset = FAR_OFFSET | (uint32_t)(m->fars_before + m->made_far++);
            }
            memcpy(m->names + (size_t)m->made * m->oid_bytes, name, m->oid_bytes);
            write_32(m->rows + ROW_BYTES * m->made, p->number);
            write_32(m->rows + ROW_BYTES * m->made + 4, offset);
            m->made++;
        }
        p->name += m->oid_bytes;
        p->offset += 4;
        if (p->name == p->end)
            m->heap[0] = m->heap[--m->left];
        else if (memcmp(name, p->name, m->oid_bytes) >= 0)
            return LEFT;
        else
            p->head = head_of(p->name);
        sift_down(m, 0);
    }
    return GOOD;
}

/* Take the parts, tuples of (number, names, offsets, far offsets), none of them empty; the rows and far offsets that
 * they have together. */
static enum verdict
take_parts(struct merge *m, PyObject *parts, Py_ssize_t *rows, Py_ssize_t *fars)
{
    Py_ssize_t count = PyTuple_Size(parts), i;

    for (i = 0; i < count; i++) {
        struct part *p = &m->parts[i];
        const char *names, *offsets, *far;
        Py_ssize_t names_size, offsets_size, far_size, own;
        unsigned int number;
        PyObject *part = PyTuple_GetItem(parts, i);

        if (!PyTuple_Check(part)) {
            PyErr_SetString(PyExc_TypeError, "a part is no tuple");
            return FAILED;
        }
        if (!PyArg_ParseTuple(part, "Iy#y#y#", &number, &names, &names_size, &offsets, &offsets_size, &far, &far_size))
            return FAILED;
        own = names_size / (Py_ssize_t)m->oid_bytes;
        if (own == 0 || own * (Py_ssize_t)m->oid_bytes != names_size || offsets_size != 4 * own || far_size % 8)
            return LEFT;
        p->name = (const unsigned char *)names;
        p->end = p->name + names_size;
        p->offset = (const unsigned char *)offsets;
        p->far = (const unsigned char *)far;
        p->fars = far_size / 8;
        p->head = head_of(p->name);
        p->number = number;
        m->heap[m->left++] = (int)i;
        *rows += own;
        *fars += far_size ? own : 0;
    }
    return GOOD;
}

static PyObject *
compiled_merge(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    struct merge m = {0};
    PyObject *parts, *found = NULL;
    Py_ssize_t oid_bytes, count, rows = 0, fars = 0;
    enum verdict verdict = FAILED;

    if (!PyArg_ParseTuple(arguments, "O!nI", &PyTuple_Type, &parts, &oid_bytes, &m.fars_before))
        return NULL;
    if (oid_bytes != 20 && oid_bytes != 32) {
        PyErr_SetString(PyExc_ValueError, "no length of an id");
        return NULL;
    }
    m.oid_bytes = (size_t)oid_bytes;
    count = PyTuple_Size(parts);
    if (count > INT_MAX)
        return Py_NewRef(Py_None);
    m.parts = PyMem_Calloc((size_t)count + 1, sizeof *m.parts);
    m.heap = PyMem_Calloc((size_t)count + 1, sizeof *m.heap);
    if (m.parts != NULL && m.heap != NULL)
        verdict = take_parts(&m, parts, &rows, &fars);
    else
        PyErr_NoMemory();
    if (verdict == GOOD) {
        m.names = PyMem_Malloc((size_t)rows * m.oid_bytes + 1);
        m.rows = PyMem_Malloc((size_t)rows * ROW_BYTES + 1);
        m.far = PyMem_Malloc((size_t)fars * 8 + 1);
        if (m.names == NULL || m.rows == NULL || m.far == NULL) {
            PyErr_NoMemory();
            verdict = FAILED;
        }
    }
    if (verdict == GOOD) {
        PyThreadState *running = PyEval_SaveThread(); /* all that is read is bytes in tuples, which stay */

        verdict = merge_parts(&m);
        PyEval_RestoreThread(running);
    }
    if (verdict == GOOD)
        found = Py_BuildValue("y#y#y#", m.names, m.made * oid_bytes, m.rows, m.made * ROW_BYTES, m.far, m.made_far * 8);
    else if (verdict == LEFT)
        found = Py_NewRef(Py_None);
    PyMem_Free(m.parts);
    PyMem_Free(m.heap);
    PyMem_Free(m.names);
    PyMem_Free(m.rows);
    PyMem_Free(m.far);
    return found;
}

/* ---- the module ---- */

static PyMethodDef methods[] = {
    {"walk", compiled_walk, METH_VARARGS, NULL},
    {"apply", compiled_apply, METH_VARARGS, NULL},
    {"resolve", compiled_resolve, METH_VARARGS, NULL},
    {"look", compiled_look, METH_VARARGS, NULL},
    {"merge", compiled_merge, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, .m_name = "_compiled", .m_doc = "See gtfs/pack/compiled.py.", .m_methods = methods,
};

PyMODINIT_FUNC
PyInit__compiled(void)
{
    return PyModuleDef_Init(&module);
}
