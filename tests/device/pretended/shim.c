/* What PyTorch's autograd asks of CUDA before it looks at a tensor of a CUDA device: how many devices there are, and
 * whether the first one has a context. No Python code can answer, so this is loaded before PyTorch is (LD_PRELOAD),
 * under the driver's own name. There is none until `pretend_device_count` is called: whatever counts devices while
 * PyTorch is imported finds the truth. */

static signed char devices = 0;

void pretend_device_count(int count) { devices = (signed char)count; }

/* c10::cuda::device_count() */
signed char _ZN3c104cuda12device_countEv(void) { return devices; }

/* The driver's; autograd has no streams to look after where the device has no context. */
int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) {
  (void)device;
  if (flags) *flags = 0;
  if (active) *active = 0;
  return 0;
}
