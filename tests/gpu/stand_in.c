// Stands for libcuda.so.1 and libcublas.so.13 where there is no GPU: memory is this process's, kernels
// and products do nothing. It aborts on what a driver would not forgive: memory that is not allocated,
// freed twice or left behind, page-locked memory that is written while a copy from it is on its way,
// matrices that do not fit their memory, a kernel that has not been given its shared memory. For tests/gpu/stand_in.sh; what kernels compute is the emulator's to test.
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t Address;
#define TOTAL ((size_t)8 << 30)
#define MOST 65536

static struct { Address at; size_t bytes; } blocks[MOST];
// Page-locked memory, and copies from it that have not been waited for, by what they will read.
static struct { const char *at; size_t bytes; } locked[64];
static struct { const void *from; size_t bytes; uint64_t sum; void *stream; } copies[MOST];
static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER; // of all three: several threads call
static int count, locks, copying;
static atomic_int launches, products;
static size_t used, peak;
static _Thread_local void *current;

static void fail(const char *what) { fprintf(stderr, "stand-in driver: %s\n", what); abort(); }
static void inside(Address at, size_t bytes, const char *what) {
    int found = 0;
    pthread_mutex_lock(&table);
    for (int i = 0; i < count && !found; i++)
        found = at >= blocks[i].at && at + bytes <= blocks[i].at + blocks[i].bytes;
    pthread_mutex_unlock(&table);
    if (!found) fail(what);
}
static void bound(void) { if (!current) fail("a call from a thread without a context"); }
__attribute__((destructor)) static void report(void) {
    if (count || locks) fail("memory was left behind");
    if (launches) fprintf(stderr, "stand-in driver: %d launches, %d products, all memory given back\n", launches, products);
}

// What a test sets: what the driver answers at first, the first digit of the compute capability, after how many
// launches the second device is lost.
static int set(const char *variable, int otherwise) { return getenv(variable) ? atoi(getenv(variable)) : otherwise; }
static int lost(void) { return current == (void *)2 && launches > set("STAND_IN_LAUNCHES", 1 << 30) ? 719 : 0; }
int cuInit(unsigned flags) { return set("STAND_IN_INIT", 0); }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGetCount(int *n) { *n = 2; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceGetName(char *name, int size, int device) { snprintf(name, size, "stand-in"); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = TOTAL; return 0; }
// Compute capability 9.0 (attributes 75 and 76), 132 multiprocessors (16) with 228 KiB of shared memory (81), memory
// pools.
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? set("STAND_IN_MAJOR", 9) : attribute == 76 ? 0 : attribute == 16 ? 132 : attribute == 81 ? 228 << 10 : 1;
    return 0;
}
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)(uintptr_t)(device + 1); return 0; }
int cuDevicePrimaryCtxRelease_v2(int device) { return 0; }
int cuCtxGetCurrent(void **context) { *context = current; return 0; }
int cuCtxSetCurrent(void *context) { current = context; return 0; }
int cuDeviceGetDefaultMemPool(void **pool, int device) { *pool = (void *)7; return 0; }
int cuMemPoolSetAttribute(void *pool, int attribute, void *value) { return 0; }
int cuMemPoolGetAttribute(void *pool, int attribute, void *value) { *(uint64_t *)value = peak; return 0; }
int cuMemPoolTrimTo(void *pool, size_t keep) { return 0; }
int cuModuleLoadData(void **module, const void *image) {
    bound();
    if (set("STAND_IN_MAJOR", 9) < 8) return 209; // no binary for this GPU
    if ((uintptr_t)image % 8 || *(const uint32_t *)image != 0xba55ed50) fail("a module that is no fatbin");
    *module = (void *)image;
    return 0;
}
int cuModuleUnload(void *module) { return 0; }
// Names are in the images as text. A function is its name and the shared memory that it may use.
struct Function { char name[120]; unsigned shared; };
int cuModuleGetFunction(void **function, void *module, const char *name) {
    struct Function *f = malloc(sizeof *f);
    snprintf(f->name, sizeof f->name, "%s", name);
    f->shared = 48 << 10;
    *function = f;
    return 0;
}
int cuFuncSetAttribute(void *function, int attribute, int value) {
    if (attribute != 8 || value > 227 << 10) fail("an attribute that no kernel needs");
    ((struct Function *)function)->shared = value;
    return 0;
}
int cuStreamCreate(void **stream, unsigned flags) { bound(); *stream = malloc(1); return 0; }
static uint64_t sum_of(const unsigned char *at, size_t bytes) {
    uint64_t sum = 0;
    for (size_t i = 0; i < bytes; i++) sum = sum * 31 + at[i];
    return sum;
}
// Which page-locked memory holds an address, -1 if none does.
static int lock_of(const void *at) {
    for (int i = 0; i < locks; i++)
        if ((const char *)at >= locked[i].at && (const char *)at < locked[i].at + locked[i].bytes) return i;
    return -1;
}
static void started(const void *from, size_t bytes, void *stream) {
    pthread_mutex_lock(&table);
    if (lock_of(from) >= 0) {
        if (copying == MOST) fail("more copies than it can count");
        copies[copying].from = from, copies[copying].bytes = bytes;
        copies[copying].sum = sum_of(from, bytes), copies[copying++].stream = stream;
    }
    pthread_mutex_unlock(&table);
}
int cuStreamSynchronize(void *stream) {
    bound();
    pthread_mutex_lock(&table);
    for (int i = 0; i < copying;)
        if (copies[i].stream != stream) i++;
        else {
            if (sum_of(copies[i].from, copies[i].bytes) != copies[i].sum) fail("page-locked memory was written too early");
            copies[i] = copies[--copying];
        }
    pthread_mutex_unlock(&table);
    return lost();
}
int cuMemHostAlloc(void **at, size_t bytes, unsigned flags) {
    bound();
    *at = malloc(bytes);
    pthread_mutex_lock(&table);
    if (locks == 64) fail("more page-locked memory than it can count");
    locked[locks].at = *at, locked[locks++].bytes = bytes;
    pthread_mutex_unlock(&table);
    return 0;
}
int cuMemFreeHost(void *at) {
    bound();
    pthread_mutex_lock(&table);
    int found = lock_of(at);
    if (found < 0 || locked[found].at != at) fail("freed what is not page-locked");
    for (int i = 0; i < copying; i++)
        if (lock_of(copies[i].from) == found) fail("page-locked memory was freed too early");
    locked[found] = locked[--locks];
    pthread_mutex_unlock(&table);
    free(at);
    return 0;
}
int cuStreamDestroy_v2(void *stream) { free(stream); return 0; }
int cuMemAllocAsync(Address *at, size_t bytes, void *stream) {
    bound();
    pthread_mutex_lock(&table);
    if (used + bytes > TOTAL) {
        pthread_mutex_unlock(&table);
        return 2;
    }
    if (count == MOST) fail("more allocations than it can count");
    *at = (Address)aligned_alloc(256, (bytes + 255) / 256 * 256);
    // Losses that nothing computes are 0, not what was there.
    memset((void *)*at, 0, bytes);
    blocks[count].at = *at, blocks[count++].bytes = bytes;
    if ((used += bytes) > peak) peak = used;
    pthread_mutex_unlock(&table);
    return 0;
}
int cuMemFreeAsync(Address at, void *stream) {
    bound();
    int found = 0;
    pthread_mutex_lock(&table);
    for (int i = 0; i < count && !found; i++)
        if (blocks[i].at == at) {
            used -= blocks[i].bytes;
            free((void *)at);
            blocks[i] = blocks[--count];
            found = 1;
        }
    pthread_mutex_unlock(&table);
    if (!found) fail("freed what is not allocated");
    return 0;
}
int cuMemsetD8Async(Address at, unsigned char value, size_t bytes, void *stream) { bound(); inside(at, bytes, "clears outside"); memset((void *)at, value, bytes); return 0; }
int cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t bytes, void *stream) { bound(); inside(to, bytes, "writes outside"); started(from, bytes, stream); memcpy((void *)to, from, bytes); return 0; }
int cuMemcpyDtoHAsync_v2(void *to, Address from, size_t bytes, void *stream) { bound(); inside(from, bytes, "reads outside"); memcpy(to, (void *)from, bytes); return 0; }
int cuMemcpyDtoDAsync_v2(Address to, Address from, size_t bytes, void *stream) { bound(); inside(to, bytes, "copies outside"); inside(from, bytes, "copies from outside"); memmove((void *)to, (void *)from, bytes); return 0; }
int cuMemGetInfo_v2(size_t *available, size_t *total) { *available = TOTAL - used; *total = TOTAL; return 0; }
int cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned ty, unsigned tz, unsigned shared, void *stream, void **arguments, void **extra) {
    bound();
    if (!x || y > 65535 || z > 65535 || threads > 1024) fail("a grid that no GPU takes");
    if (shared > ((struct Function *)function)->shared) fail("more shared memory than was asked for");
    launches++;
    return lost();
}
int cuGetErrorName(int error, const char **name) { *name = "error"; return 0; }
int cuGetErrorString(int error, const char **text) { *text = "error"; return 0; }

// A handle is its math mode.
int cublasCreate_v2(void **handle) { bound(); *handle = calloc(1, sizeof(int)); return 0; }
int cublasDestroy_v2(void *handle) { free(handle); return 0; }
int cublasSetMathMode(void *handle, int mode) { *(int *)handle = mode; return 0; }
int cublasSetStream_v2(void *handle, void *stream) { return 0; }
int cublasSetWorkspace_v2(void *handle, void *at, size_t bytes) { inside((Address)at, bytes, "a workspace outside"); return 0; }
int cublasGetProperty(int property, int *value) { *value = property == 0 ? 13 : 0; return 0; }
// Column-major; types 0 (f32) and 14 (bf16), sums in f32 (68).
int cublasGemmEx(void *handle, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int type_a, int lda, const void *b, int type_b, int ldb, const void *beta, void *c, int type_c, int ldc, int compute, int algorithm) {
    bound();
    if (*(int *)handle != 16) fail("a product that may be summed in bf16");
    size_t of_a = type_a ? 2 : 4, of_c = type_c ? 2 : 4;
    if (type_a != type_b || compute != 68) fail("types that cuBLAS does not multiply");
    if (lda < (ta ? k : m) || ldb < (tb ? n : k) || ldc < m) fail("a leading dimension that is too small");
    inside((Address)a, of_a * lda * (ta ? m : k), "a left factor outside");
    inside((Address)b, of_a * ldb * (tb ? k : n), "a right factor outside");
    inside((Address)c, of_c * ldc * n, "a product outside");
    products++;
    return 0;
}
