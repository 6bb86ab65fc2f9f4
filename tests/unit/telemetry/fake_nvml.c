/* A stand-in for the NVIDIA driver's library: two cards with known figures. Own code, no vendor header.
 * FAKE_NVML_FAIL=<n>: nvmlInit returns error n. FAKE_NVML_LOST=1: the second card is lost.
 * Built with -DOLD_DRIVER it lacks the newer functions; no variant has a fan. */
#include <stdlib.h>
#include <string.h>
#include <stdint.h>

#define OK 0
#define NOT_SUPPORTED 3
#define GPU_IS_LOST 15

typedef struct { int number; } card;
static card cards[2] = {{0}, {1}};

int nvmlInitWithFlags(unsigned flags) {
    const char *fail = getenv("FAKE_NVML_FAIL");
    (void)flags;
    return fail ? atoi(fail) : OK;
}
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int error) { (void)error; return "fake error"; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, card **out) {
    if (index == 1 && getenv("FAKE_NVML_LOST")) return GPU_IS_LOST;
    *out = &cards[index];
    return OK;
}
int nvmlDeviceGetName(card *c, char *out, unsigned n) {
    strncpy(out, c->number ? "Fake \xff card" : "Fake RTX 9090", n);
    return OK;
}
int nvmlDeviceGetUUID(card *c, char *out, unsigned n) {
    if (c->number) return NOT_SUPPORTED;
    strncpy(out, "GPU-fake-0", n);
    return OK;
}
int nvmlDeviceGetUtilizationRates(card *c, unsigned out[2]) {
    if (c->number) return NOT_SUPPORTED;
    out[0] = 87; out[1] = 45;
    return OK;
}
int nvmlDeviceGetMemoryInfo(card *c, uint64_t out[3]) { /* total, free, used */
    (void)c;
    out[0] = 24ull << 30; out[1] = 14ull << 30; out[2] = 10ull << 30;
    return OK;
}
/* Two programs compute on the first card, one of them draws too; the second's share is not told. */
struct process { unsigned pid; unsigned long long used; unsigned instance, compute; };
static int processes(card *c, unsigned *count, struct process *out, int drawing) {
    unsigned n = c->number ? 0 : (drawing ? 1 : 2);
    if (*count < n) { *count = n; return 7; }
    *count = n;
    if (n) { out[0].pid = 4711; out[0].used = 3ull << 30; }
    if (n > 1) { out[1].pid = 4712; out[1].used = ~0ull; }
    return OK;
}
int nvmlDeviceGetComputeRunningProcesses_v3(card *c, unsigned *n, struct process *out) { return processes(c, n, out, 0); }
int nvmlDeviceGetGraphicsRunningProcesses_v3(card *c, unsigned *n, struct process *out) { return processes(c, n, out, 1); }
int nvmlDeviceGetPowerUsage(card *c, unsigned *mw) {
    if (c->number) return NOT_SUPPORTED;
    *mw = 215500;
    return OK;
}
int nvmlDeviceGetEnforcedPowerLimit(card *c, unsigned *mw) { (void)c; *mw = 450000; return OK; }
int nvmlDeviceGetClockInfo(card *c, int kind, unsigned *mhz) { (void)c; *mhz = kind == 1 ? 2520 : 10501; return OK; }
int nvmlDeviceGetTemperature(card *c, int sensor, unsigned *out) { (void)sensor; *out = c->number ? 0 : 61; return OK; }
#ifdef OLD_DRIVER
int nvmlDeviceGetCurrentClocksThrottleReasons(card *c, uint64_t *out) { (void)c; *out = 0x1; return OK; }
#else
struct memory_v2 { unsigned version; uint64_t total, reserved, free, used; };
int nvmlDeviceGetMemoryInfo_v2(card *c, struct memory_v2 *out) {
    (void)c;
    out->total = 24ull << 30; out->reserved = 1ull << 30; out->free = 14ull << 30; out->used = 9ull << 30;
    return OK;
}
struct temperature { unsigned version, sensor; int value; };
int nvmlDeviceGetTemperatureV(card *c, struct temperature *out) { out->value = c->number ? 0 : 62; return OK; }
int nvmlDeviceGetCurrentClocksEventReasons(card *c, uint64_t *out) { (void)c; *out = 0x4 | 0x20; return OK; }
#endif
