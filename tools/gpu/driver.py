"""The CUDA driver from Python, without a toolkit: modules, memory, launches, graphs, events."""
import ctypes
import ctypes.util
import sys

ATTRIBUTE_MAJOR, ATTRIBUTE_MINOR = 75, 76
ATTRIBUTE_SHARED = 97
FUNCTION_SHARED = 8
CAPTURE_RELAXED = 2


class DriverError(Exception):
    pass


class Device:
    """The first device, with one stream. Code is PTX or a cubin."""

    def __init__(self):
        try:
            self.cuda = ctypes.CDLL("libcuda.so.1")
        except OSError:
            raise DriverError("there is no CUDA driver: libcuda.so.1 is not installed") from None
        self.call("cuInit", 0)
        count = ctypes.c_int()
        self.call("cuDeviceGetCount", ctypes.byref(count))
        if count.value == 0:
            raise DriverError("the CUDA driver sees no device")
        device = ctypes.c_int()
        self.call("cuDeviceGet", ctypes.byref(device), 0)
        name = ctypes.create_string_buffer(128)
        self.call("cuDeviceGetName", name, 128, device)
        self.name = name.value.decode()
        self.capability = (self.attribute(device, ATTRIBUTE_MAJOR), self.attribute(device, ATTRIBUTE_MINOR))
        self.shared_bytes = self.attribute(device, ATTRIBUTE_SHARED)
        context = ctypes.c_void_p()
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self.call("cuCtxSetCurrent", context)
        self.stream = ctypes.c_void_p()
        self.call("cuStreamCreate", ctypes.byref(self.stream), 1)
        self.functions = {}

    def call(self, function, *arguments):
        error = getattr(self.cuda, function)(*arguments)
        if error:
            text = ctypes.c_char_p()
            self.cuda.cuGetErrorString(error, ctypes.byref(text))
            raise DriverError(f"{function}: error {error}: {(text.value or b'unknown').decode()}")

    def attribute(self, device, number):
        value = ctypes.c_int()
        self.call("cuDeviceGetAttribute", ctypes.byref(value), number, device)
        return value.value

    def runs(self, arch):
        """Whether this device runs code for `sm_…`."""
        digits = arch.removeprefix("sm_")
        wanted = (int(digits.rstrip("a")[:-1]), int(digits.rstrip("a")[-1]))
        return wanted == self.capability if digits.endswith("a") else wanted <= self.capability

    def best(self, archs):
        """The newest of these architectures that the device runs."""
        fitting = [arch for arch in archs if self.runs(arch)]
        if not fitting:
            major, minor = self.capability
            raise DriverError(f"{self.name} (sm_{major}{minor}) runs none of {', '.join(archs) or 'no code'}")
        return max(fitting, key=lambda arch: int(arch.removeprefix("sm_").rstrip("a")))

    def load(self, code):
        """A module of PTX or a cubin."""
        module = ctypes.c_void_p()
        log = ctypes.create_string_buffer(8192)
        options = (ctypes.c_int * 2)(5, 6)
        values = (ctypes.c_void_p * 2)(ctypes.cast(log, ctypes.c_void_p), 8192)
        try:
            self.call("cuModuleLoadDataEx", ctypes.byref(module), ctypes.c_char_p(code + b"\0"), 2, options, values)
        except DriverError as error:
            raise DriverError(f"{error}; {log.value.decode(errors='replace').strip()}") from None
        return module

    def unload(self, module):
        self.call("cuModuleUnload", module)

    def function(self, module, name, shared):
        function = ctypes.c_void_p()
        self.call("cuModuleGetFunction", ctypes.byref(function), module, name.encode())
        if shared > 48 << 10:
            self.call("cuFuncSetAttribute", function, FUNCTION_SHARED, shared)
        return function

    def alloc(self, size):
        address = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        return address.value

    def free(self, address):
        self.call("cuMemFree_v2", ctypes.c_uint64(address))

    def write(self, address, content):
        if content:
            self.call("cuMemcpyHtoD_v2", ctypes.c_uint64(address), ctypes.c_char_p(bytes(content)), ctypes.c_size_t(len(content)))

    def read(self, address, size):
        content = ctypes.create_string_buffer(max(size, 1))
        if size:
            self.call("cuMemcpyDtoH_v2", content, ctypes.c_uint64(address), ctypes.c_size_t(size))
        return content.raw[:size]

    def copy(self, to, source, size):
        self.call("cuMemcpyDtoDAsync_v2", ctypes.c_uint64(to), ctypes.c_uint64(source), ctypes.c_size_t(size), self.stream)

    def launch(self, function, grid, block, shared, words):
        """Enqueues a kernel; every argument lies in the low bytes of a word."""
        values = (ctypes.c_uint64 * max(len(words), 1))(*[word & 0xFFFF_FFFF_FFFF_FFFF for word in words])
        size = ctypes.sizeof(ctypes.c_uint64)
        pointers = (ctypes.c_void_p * max(len(words), 1))(*[ctypes.addressof(values) + size * i for i in range(len(words))])
        self.call("cuLaunchKernel", function, *grid, *block, shared, self.stream, pointers, None)

    def synchronize(self):
        self.call("cuStreamSynchronize", self.stream)

    def graph(self, enqueue):
        """What `enqueue` enqueues, as a graph."""
        self.call("cuStreamBeginCapture_v2", self.stream, CAPTURE_RELAXED)
        graph, made = ctypes.c_void_p(), ctypes.c_void_p()
        try:
            enqueue()
        finally:
            self.call("cuStreamEndCapture", self.stream, ctypes.byref(graph))
        self.call("cuGraphInstantiateWithFlags", ctypes.byref(made), graph, ctypes.c_uint64(0))
        self.call("cuGraphDestroy", graph)
        return made

    def run(self, graph):
        self.call("cuGraphLaunch", graph, self.stream)

    def drop(self, graph):
        self.call("cuGraphExecDestroy", graph)

    def seconds(self, enqueue):
        """How long the device takes for what `enqueue` enqueues."""
        events = [ctypes.c_void_p(), ctypes.c_void_p()]
        for event in events:
            self.call("cuEventCreate", ctypes.byref(event), 0)
        self.call("cuEventRecord", events[0], self.stream)
        enqueue()
        self.call("cuEventRecord", events[1], self.stream)
        self.call("cuEventSynchronize", events[1])
        milliseconds = ctypes.c_float()
        self.call("cuEventElapsedTime", ctypes.byref(milliseconds), *events)
        for event in events:
            self.call("cuEventDestroy_v2", event)
        return milliseconds.value / 1e3


def open_device():
    """The device, or the end of the program with the reason why there is none."""
    try:
        return Device()
    except DriverError as error:
        print(f"error: no GPU to run on: {error}", file=sys.stderr)
        sys.exit(2)
