//! The driver of a real GPU: libcuda and cuBLAS, opened when they are first asked for, so that one
//! binary starts on any machine.

#![expect(unsafe_code, reason = "the driver's interface is C")]

use std::collections::HashMap;
use std::ffi::{CString, c_int, c_void};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use cudarc::cublas::{result as blas, sys as blas_sys};
use cudarc::driver::{CudaContext, DriverError, result as cuda, sys};

use super::driver::{Address, DeviceMemory, Driver, Launch, Operand, Product};
use super::staging::Staging;
use crate::ops::{Error, GpuDescription, Precision};

/// A fatbin as the driver wants it: on 16 bytes.
#[repr(align(16))]
pub(super) struct Aligned<T: ?Sized>(T);

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

/// What `nvcc` the kernels were compiled by.
pub const NVCC_VERSION: &str = env!("XP_NVCC_VERSION");
/// Compute capabilities (major and minor digit) that have machine code of their own; others run
/// what the driver makes of PTX. "90a" stands for kernels of 9.0 and nothing else.
pub const ARCHITECTURES: &str = env!("XP_CUDA_ARCHITECTURES");

/// Folders where cuBLAS is looked for before the system's: those of a Python wheel, say.
const LIBRARY_FOLDERS: &str = "XP_CUDA_LIB_DIRS";
/// Where it is set and neither empty nor 0, the instructions of warpgroups are not used: to tell whether it
/// is they that fail, or what they are worth.
const NO_WARPGROUPS: &str = "XP_CUDA_NO_WARPGROUPS";
/// Variables by which cuBLAS computes something else than it is asked for: f32 as TF32, f32 from pieces
/// in bf16, algorithms chosen by a file.
const OTHER_NUMBERS: [&str; 3] =
    ["NVIDIA_TF32_OVERRIDE", "CUBLAS_EMULATE_SINGLE_PRECISION", "CUBLASLT_HEURISTICS_LUT_FILE"];
/// What to do where the driver is there and no GPU is.
pub const NO_GPU: &str = "the driver sees no GPU: nvidia-smi lists what there is, CUDA_VISIBLE_DEVICES \
                          hides what it does not name, and a container has what it was started with";
/// Scratch memory of cuBLAS, a fixed one for each queue: its results then have the same bits.
const BLAS_WORKSPACE: usize = super::driver::FIXED_BYTES as usize;
/// Shared memory that a kernel has without asking.
const PLAIN_SHARED: u32 = 48 << 10;

/// A GPU with a queue of its own.
pub struct Gpu {
    /// The first to be dropped: while the device is there.
    staging: Mutex<Staging>,
    device: Arc<Device>,
    stream: sys::CUstream,
    blas: blas_sys::cublasHandle_t,
    workspace: Address,
}

/// What all queues of a GPU share.
struct Device {
    context: Arc<CudaContext>,
    pool: sys::CUmemoryPool,
    modules: Vec<sys::CUmodule>,
    /// Kernels by name, and the shared memory that each may use by now.
    functions: Mutex<HashMap<String, (sys::CUfunction, u32)>>,
    /// Shared memory of a multiprocessor.
    shared_memory: usize,
    /// Whether the kernels of compute capability 9.0 and nothing else are loaded.
    hopper: bool,
    class: String,
}

// SAFETY: handles of the driver and of cuBLAS may be used from any thread, one at a time: a queue
// belongs to one session, and a `Mutex` guards the functions.
unsafe impl Send for Gpu {}
// SAFETY: as above.
unsafe impl Sync for Gpu {}
// SAFETY: as above.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

fn failed(what: &str, error: impl std::fmt::Debug) -> Error {
    Error::Device(format!("{what}: {error:?}"))
}

/// Whether an environment variable is set to something that is neither empty nor 0.
fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty() && value != "0")
}

/// Whether the driver is installed.
#[must_use]
pub fn has_driver() -> bool {
    // SAFETY: opens a library that is safe to open.
    unsafe { sys::is_culib_present() }
}

/// Whether cuBLAS is found.
#[must_use]
pub fn has_blas() -> bool {
    static LOADED: OnceLock<bool> = OnceLock::new();
    *LOADED.get_or_init(|| {
        let folders = std::env::var_os(LIBRARY_FOLDERS).unwrap_or_default();
        for folder in std::env::split_paths(&folders) {
            load_from(&folder);
        }
        // SAFETY: opens a library that is safe to open.
        unsafe { blas_sys::is_culib_present() }
    })
}

/// Opens cuBLAS of a folder, if it is there: once open it is found by its name.
fn load_from(folder: &std::path::Path) {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    for version in ["13", "12"] {
        for name in ["libcublasLt.so", "libcublas.so"] {
            let path: PathBuf = folder.join(format!("{name}.{version}"));
            // SAFETY: opens a library that is safe to open.
            if let Ok(library) = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) } {
                std::mem::forget(library); // it stays open
            }
        }
    }
}

/// The GPUs that the driver sees, which may be none.
///
/// # Errors
/// [`Error::Device`] without a driver, or one that fails.
pub fn gpus() -> Result<Vec<GpuDescription>, Error> {
    if !has_driver() {
        return Err(Error::Device(
            "the NVIDIA driver (libcuda.so.1) is not installed on this machine".into(),
        ));
    }
    let describe = || -> Result<Vec<GpuDescription>, cudarc::driver::DriverError> {
        match cuda::init() {
            Err(error) if error.0 == sys::cudaError_enum::CUDA_ERROR_NO_DEVICE => {
                return Ok(Vec::new());
            }
            other => other?,
        }
        let count = cuda::device::get_count()?;
        let describe = |ordinal| {
            use sys::CUdevice_attribute as Attribute;
            let device = cuda::device::get(ordinal)?;
            // SAFETY: a device that was just got.
            let get = |attribute| unsafe { cuda::device::get_attribute(device, attribute) };
            let major = get(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
            let minor = get(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
            Ok(GpuDescription {
                name: cuda::device::get_name(device)?,
                compute_capability: format!("{major}.{minor}"),
                multiprocessors: get(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
                // SAFETY: as above.
                memory: unsafe { cuda::device::total_mem(device)? } as u64,
            })
        };
        (0..count).map(describe).collect()
    };
    describe().map_err(|error| failed("the NVIDIA driver does not answer", error))
}

/// The driver's version, as the newest CUDA that it carries: "13.0".
#[must_use]
pub fn driver_version() -> Option<String> {
    let mut version: c_int = 0;
    // SAFETY: asked only where the driver is installed; writes one number.
    let status = has_driver().then(|| unsafe { sys::cuDriverGetVersion(&raw mut version) })?;
    status.result().is_ok().then(|| format!("{}.{}", version / 1000, version % 1000 / 10))
}

/// cuBLAS's version: "13.0.2".
#[must_use]
pub fn blas_version() -> Option<String> {
    use blas_sys::libraryPropertyType as Property;
    if !has_blas() {
        return None;
    }
    let get = |property| {
        let mut value: c_int = 0;
        // SAFETY: writes one number.
        let status = unsafe { blas_sys::cublasGetProperty(property, &raw mut value) };
        status.result().is_ok().then(|| value.to_string())
    };
    let parts = [Property::MAJOR_VERSION, Property::MINOR_VERSION, Property::PATCH_LEVEL];
    Some(parts.into_iter().map(get).collect::<Option<Vec<_>>>()?.join("."))
}

impl Gpu {
    /// The GPU of this number, from 0.
    ///
    /// # Errors
    /// [`Error::Device`] if there is no driver, no such GPU or no cuBLAS, or if the environment makes
    /// cuBLAS compute something else.
    pub fn open(ordinal: usize) -> Result<Self, Error> {
        Self::open_with(ordinal, !is_set(NO_WARPGROUPS))
    }

    /// The same, with the instructions of warpgroups where there are any, or without.
    ///
    /// # Errors
    /// As [`Gpu::open`].
    pub fn open_with(ordinal: usize, warpgroups: bool) -> Result<Self, Error> {
        let gpus = gpus()?;
        let Some(gpu) = gpus.get(ordinal) else {
            let seen = match gpus.len() {
                0 => NO_GPU.into(),
                n => format!("the driver sees {n}, counted from 0"),
            };
            return Err(Error::Device(format!("there is no cuda:{ordinal}: {seen}")));
        };
        let Some(blas_version) = blas_version() else {
            return Err(Error::Device(format!(
                "cuBLAS (libcublas.so.13 or .12) was not found: install the CUDA toolkit's \
                 libraries, or name the folder of a Python wheel's in {LIBRARY_FOLDERS} (as \
                 <site-packages>/nvidia/cu13/lib)"
            )));
        };
        if let Some(variable) = OTHER_NUMBERS.into_iter().find(|variable| is_set(variable)) {
            return Err(Error::Device(format!(
                "{variable} is set, by which cuBLAS gives other numbers than the spec asks for: unset it"
            )));
        }
        let capability = gpu.compute_capability.replace('.', "");
        let compiled =
            ARCHITECTURES.split(',').any(|arch| arch.trim_end_matches('a') == capability);
        let by_driver = match driver_version() {
            Some(version) if !compiled => format!(", compiled by driver {version}"),
            _ => String::new(),
        };
        let hopper = warpgroups && capability == "90" && !HOPPER_IMAGES.is_empty();
        let class = format!(
            "cuda sm_{capability}{}, {} multiprocessors, cuBLAS {blas_version}, kernels of nvcc \
             {NVCC_VERSION}{by_driver}",
            if hopper { "a" } else { "" },
            gpu.multiprocessors
        );
        let device = Device::open(ordinal, &gpu.compute_capability, hopper, class)?;
        Self::with(Arc::new(device))
    }

    fn with(device: Arc<Device>) -> Result<Self, Error> {
        device.bind()?;
        let stream = cuda::stream::create(cuda::stream::StreamKind::NonBlocking)
            .map_err(|error| failed("a queue could not be made", error))?;
        let blas = blas::create_handle().map_err(|error| failed("cuBLAS does not start", error))?;
        let staging = Staging::new()
            .map_err(|error| failed("page-locked memory could not be allocated", error))?;
        let mut gpu = Self { staging: staging.into(), device, stream, blas, workspace: 0 };
        gpu.workspace = gpu.allocate(BLAS_WORKSPACE)?.ok_or(Error::OutOfMemory {
            what: "cuBLAS",
            bytes: BLAS_WORKSPACE as u64,
            free: gpu.memory().ok().map(|memory| memory.free),
        })?;
        let what = "cuBLAS could not be set up";
        // SAFETY: handle and stream were just made; the workspace lives as long as they do.
        unsafe {
            blas::set_stream(blas, gpu.stream.cast()).map_err(|error| failed(what, error))?;
            // Sums that are split over blocks stay in f32 where their result is bf16.
            let math = blas_sys::cublasMath_t::CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
            blas_sys::cublasSetMathMode(blas, math)
                .result()
                .map_err(|error| failed(what, error))?;
            let workspace = gpu.workspace as *mut c_void;
            blas_sys::cublasSetWorkspace_v2(blas, workspace, BLAS_WORKSPACE)
                .result()
                .map_err(|error| failed(what, error))?;
        }
        Ok(gpu)
    }

    /// Waits for everything that the queue was given, after which nothing reads what is held for it.
    fn wait(&self, staging: &mut Staging) -> Result<(), DriverError> {
        // SAFETY: the stream lives as long as `self`.
        unsafe { cuda::stream::synchronize(self.stream) }?;
        staging.clear();
        Ok(())
    }

    /// Gives freed memory that the pool keeps back to the system.
    fn trim(&self) -> Result<(), Error> {
        let trim = || {
            // SAFETY: the stream and the pool live as long as `self`.
            unsafe {
                cuda::stream::synchronize(self.stream)?;
                cuda::mem_pool::trim_to(self.device.pool, 0)
            }
        };
        trim().map_err(|error| failed("freed memory could not be given back", error))
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // What fails here has failed before, and was said.
        let _ = self.device.bind();
        // SAFETY: nothing uses the handles after this.
        unsafe {
            let _ = cuda::stream::synchronize(self.stream);
            let _ = blas::destroy_handle(self.blas);
            if self.workspace != 0 {
                let _ = cuda::free_async(self.workspace, self.stream);
            }
            let _ = cuda::stream::destroy(self.stream);
        }
    }
}

impl Device {
    fn open(ordinal: usize, capability: &str, hopper: bool, class: String) -> Result<Self, Error> {
        let open = |error| failed("the GPU could not be opened", error);
        let context = CudaContext::new(ordinal).map_err(open)?;
        let device = cuda::device::get(ordinal as c_int).map_err(open)?;
        // SAFETY: a device that was just got, here and below.
        let pool = unsafe { cuda::device::get_default_mem_pool(device) }.map_err(open)?;
        let of_multiprocessor =
            sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR;
        // SAFETY: as above.
        let shared = unsafe { cuda::device::get_attribute(device, of_multiprocessor) };
        let shared_memory = shared.map_err(open)? as usize;
        let mut keep = u64::MAX;
        let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        // Freed memory stays with the process: steps allocate the same sizes again.
        // SAFETY: the attribute is a 64-bit number.
        unsafe { cuda::mem_pool::set_attribute(pool, threshold, (&raw mut keep).cast()) }
            .map_err(open)?;
        let load = |image: &&Aligned<[u8]>| {
            // SAFETY: a whole fatbin, on 16 bytes.
            unsafe { cuda::module::load_data(image.0.as_ptr().cast()) }
        };
        let of_hopper = if hopper { HOPPER_IMAGES } else { &[] };
        let modules = IMAGES.iter().chain(of_hopper).map(load).collect::<Result<_, _>>();
        let modules = modules.map_err(|error| {
            if error.0 == sys::cudaError_enum::CUDA_ERROR_NO_BINARY_FOR_GPU {
                return Error::Device(format!(
                    "cuda:{ordinal} has compute capability {capability}, for which this xp has no \
                     kernels (it has them for {ARCHITECTURES} and newer): 8.0 is the oldest that can \
                     be built for, with XP_CUDA_ARCHITECTURES"
                ));
            }
            let what = format!(
                "the driver does not load the kernels (compiled by nvcc {NVCC_VERSION}; a driver that \
                 carries this CUDA is needed, or a build with an older nvcc)"
            );
            failed(&what, error)
        })?;
        Ok(Self {
            context,
            pool,
            modules,
            functions: Mutex::default(),
            shared_memory,
            hopper,
            class,
        })
    }

    /// Every thread that calls the driver must have been bound.
    fn bind(&self) -> Result<(), Error> {
        self.context.bind_to_thread().map_err(|error| failed("the GPU failed", error))
    }

    /// The kernel of a name, allowed to use `shared` bytes of shared memory.
    fn function(&self, name: &str, shared: u32) -> Result<sys::CUfunction, Error> {
        let mut functions = self.functions.lock().expect("no thread panics with this lock");
        let (function, allowed) = if let Some(found) = functions.get(name) {
            *found
        } else {
            let terminated = CString::new(name).expect("no NUL in a kernel's name");
            let found = self.modules.iter().find_map(|module| {
                // SAFETY: modules live as long as `self`.
                unsafe { cuda::module::get_function(*module, terminated.clone()) }.ok()
            });
            let missing = || Error::Device(format!("there is no kernel `{name}`"));
            let function = found.ok_or_else(missing)?;
            functions.insert(name.to_owned(), (function, PLAIN_SHARED));
            (function, PLAIN_SHARED)
        };
        if shared > allowed {
            use sys::CUfunction_attribute_enum as Attribute;
            let attribute = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: a function of a module that lives.
            unsafe { cuda::function::set_function_attribute(function, attribute, shared as c_int) }
                .map_err(|error| failed(name, error))?;
            functions.insert(name.to_owned(), (function, shared));
        }
        Ok(function)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = self.bind();
        for module in self.modules.drain(..) {
            // SAFETY: no kernel of it is in flight: every queue has been waited for.
            let _ = unsafe { cuda::module::unload(module) };
        }
    }
}

impl Driver for Gpu {
    fn device_class(&self) -> String {
        self.device.class.clone()
    }

    fn apart(&self) -> Result<Self, Error> {
        Self::with(Arc::clone(&self.device))
    }

    fn shared_memory(&self) -> usize {
        self.device.shared_memory
    }

    fn warpgroups(&self) -> bool {
        self.device.hopper
    }

    fn memory(&self) -> Result<DeviceMemory, Error> {
        self.device.bind()?;
        self.trim()?;
        let (free, total) =
            cuda::mem_get_info().map_err(|error| failed("the GPU's memory is not told", error))?;
        Ok(DeviceMemory { free: free as u64, total: total as u64 })
    }

    fn peak(&self) -> Result<u64, Error> {
        self.device.bind()?;
        let mut peak = 0u64;
        let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
        // SAFETY: the attribute is a 64-bit number.
        let got = unsafe {
            cuda::mem_pool::get_attribute(self.device.pool, attribute, (&raw mut peak).cast())
        };
        got.map_err(|error| failed("the GPU's memory is not told", error))?;
        Ok(peak)
    }

    fn allocate(&self, bytes: usize) -> Result<Option<Address>, Error> {
        self.device.bind()?;
        // SAFETY: the stream lives as long as `self`.
        let allocate = || unsafe { cuda::malloc_async(self.stream, bytes) };
        let short = |error: &DriverError| error.0 == sys::cudaError_enum::CUDA_ERROR_OUT_OF_MEMORY;
        let first = allocate();
        let second = match first {
            // What another queue has freed may be kept for it.
            Err(error) if short(&error) => {
                self.trim()?;
                allocate()
            }
            other => other,
        };
        match second {
            Ok(at) => Ok(Some(at)),
            Err(error) if short(&error) => Ok(None),
            Err(error) => Err(failed("memory could not be allocated", error)),
        }
    }

    fn free(&self, at: Address) {
        // What fails here has failed before, and was said.
        let _ = self.device.bind();
        // SAFETY: allocated on this stream, and freed once.
        let _ = unsafe { cuda::free_async(at, self.stream) };
    }

    fn write(&self, from: &[u8], to: Address) -> Result<(), Error> {
        self.device.bind()?;
        let mut staging = self.staging.lock().expect("no thread panics with this lock");
        let failed = |error: DriverError| failed("copying to the GPU failed", error);
        for (i, piece) in from.chunks(Staging::BYTES).enumerate() {
            if !staging.has_room(piece.len()) {
                self.wait(&mut staging).map_err(failed)?;
            }
            let at = to + (i * Staging::BYTES) as Address;
            // SAFETY: the backend keeps copies inside its buffers, here and below; what is held stays until
            // the stream has been waited for.
            unsafe { cuda::memcpy_htod_async(at, staging.hold(piece), self.stream) }
                .map_err(failed)?;
        }
        Ok(())
    }

    fn read(&self, from: Address, to: &mut [u8]) -> Result<(), Error> {
        self.device.bind()?;
        let mut staging = self.staging.lock().expect("no thread panics with this lock");
        // SAFETY: see `write`; the copy has ended when this returns.
        unsafe { cuda::memcpy_dtoh_async(to, from, self.stream) }
            .and_then(|()| self.wait(&mut staging))
            .map_err(|error| failed("the GPU failed", error))
    }

    fn copy(&self, from: Address, to: Address, bytes: usize) -> Result<(), Error> {
        self.device.bind()?;
        // SAFETY: see `write`.
        unsafe { cuda::memcpy_dtod_async(to, from, bytes, self.stream) }
            .map_err(|error| failed("copying on the GPU failed", error))
    }

    fn zero(&self, to: Address, bytes: usize) -> Result<(), Error> {
        self.device.bind()?;
        // SAFETY: see `write`.
        unsafe { cuda::memset_d8_async(to, 0, bytes, self.stream) }
            .map_err(|error| failed("clearing memory of the GPU failed", error))
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<(), Error> {
        self.device.bind()?;
        let function = self.device.function(launch.kernel, launch.shared)?;
        let mut arguments = launch.arguments.to_vec();
        let mut pointers: Vec<*mut c_void> =
            arguments.iter_mut().map(|argument| argument.bytes.as_mut_ptr().cast()).collect();
        let [x, y, z] = launch.grid;
        let (block, shared) = ((launch.threads, 1, 1), launch.shared);
        // SAFETY: the emulator's tests hold arguments and grids to what the kernels take; buffers
        // are freed in the order of this queue.
        unsafe {
            cuda::launch_kernel(function, (x, y, z), block, shared, self.stream, &mut pointers)
        }
        .map_err(|error| failed(launch.kernel, error))
    }

    fn multiply(&self, product: &Product) -> Result<(), Error> {
        use blas_sys::cublasOperation_t::{CUBLAS_OP_N as PLAIN, CUBLAS_OP_T as TRANSPOSED};
        self.device.bind()?;
        let [m, n, k] = product.size.map(|n| c_int::try_from(n).expect("sizes below 2^31"));
        let Product { a, b, c, add, .. } = *product;
        if m == 0 || n == 0 {
            return Ok(());
        }
        // cuBLAS is column-major: it sees every matrix transposed, so it computes cᵀ = bᵀ aᵀ.
        let side = |operand: Operand, plain: c_int, transposed: c_int| {
            if operand.transposed { (TRANSPOSED, transposed) } else { (PLAIN, plain) }
        };
        let ((op_a, lda), (op_b, ldb)) = (side(a, k, m), side(b, n, k));
        let (alpha, beta) = (1.0f32, if add { 1.0f32 } else { 0.0 });
        // SAFETY: matrices of these sizes lie in buffers of this device.
        unsafe {
            blas::gemm_ex(
                self.blas,
                op_b,
                op_a,
                n,
                m,
                k,
                (&raw const alpha).cast(),
                b.at as *const c_void,
                of_blas(b.precision),
                ldb,
                a.at as *const c_void,
                of_blas(a.precision),
                lda,
                (&raw const beta).cast(),
                c.at as *mut c_void,
                of_blas(c.precision),
                n,
                blas_sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                blas_sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        }
        .map_err(|error| failed("a matrix multiply failed", error))
    }
}

fn of_blas(precision: Precision) -> blas_sys::cudaDataType {
    match precision {
        Precision::F32 => blas_sys::cudaDataType::CUDA_R_32F,
        Precision::Bf16 => blas_sys::cudaDataType::CUDA_R_16BF,
    }
}
