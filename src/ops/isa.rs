//! Instruction paths of the CPU: detection at run time, and how one body becomes one function
//! per path.

use std::fmt;

/// An instruction path. Results may differ in the last bits between paths, never within one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// No assumption about the processor; no fused multiply-add.
    Portable,
    /// x86-64 with AVX2 and FMA: vectors of 8.
    Avx2,
    /// x86-64 with AVX-512F: vectors of 16.
    Avx512,
    /// 64-bit ARM: vectors of 4, fused multiply-add.
    Neon,
}

impl Isa {
    /// Every path, the plainest first.
    pub const ALL: [Self; 4] = [Self::Portable, Self::Avx2, Self::Avx512, Self::Neon];

    /// The fastest path of this processor.
    #[must_use]
    pub fn detect() -> Self {
        let mut best = Self::Portable;
        for isa in Self::ALL {
            if isa.is_available() {
                best = isa;
            }
        }
        best
    }

    /// Whether this processor has the path.
    #[must_use]
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            match self {
                Self::Portable => true,
                Self::Avx2 => avx2,
                Self::Avx512 => avx2 && is_x86_feature_detected!("avx512f"),
                Self::Neon => false,
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            // Every 64-bit ARM has it.
            self == Self::Portable || (self == Self::Neon && cfg!(target_arch = "aarch64"))
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
        })
    }
}

/// What a loop body may ask of its instruction path.
pub(crate) trait Simd {
    /// `a * b + c`: fused where the hardware has it. Elsewhere a fused result would be a call
    /// into libm per element, so two roundings it is.
    fn mul_add(a: f32, b: f32, c: f32) -> f32;
}

/// [`Isa::Portable`] as a type.
pub(crate) struct Portable;
/// [`Isa::Avx2`], [`Isa::Avx512`] or [`Isa::Neon`] as a type: the compiler has the width from the function.
pub(crate) struct Fma;

impl Simd for Portable {
    #[expect(clippy::inline_always, reason = "must take on the target features of its caller")]
    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
}

impl Simd for Fma {
    #[expect(clippy::inline_always, reason = "must take on the target features of its caller")]
    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

/// Defines a function whose first argument is an [`Isa`] and whose body, generic over
/// [`Simd`], is compiled once per path so that its plain loops vectorise to that path's width.
macro_rules! simd_kernel {
    (
        $(#[$meta:meta])*
        $vis:vis fn $name:ident<$S:ident>($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block
    ) => {
        $(#[$meta])*
        #[cfg_attr(
            target_arch = "x86_64",
            expect(unsafe_code, reason = "calls its own copies compiled for wider vectors")
        )]
        #[allow(clippy::allow_attributes, clippy::too_many_arguments, reason = "kernels take flat slices")]
        $vis fn $name(isa: $crate::ops::Isa, $($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body<$S: $crate::ops::isa::Simd>($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $ty),*) $(-> $ret)? {
                body::<$crate::ops::isa::Fma>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx2,fma")]
            fn avx512($($arg: $ty),*) $(-> $ret)? {
                body::<$crate::ops::isa::Fma>($($arg),*)
            }
            match isa {
                // SAFETY: an `Isa` reaches kernels only through `Cpu`, whose constructor
                // refuses a path that the processor lacks.
                #[cfg(target_arch = "x86_64")]
                $crate::ops::Isa::Avx2 => unsafe { avx2($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::ops::Isa::Avx512 => unsafe { avx512($($arg),*) },
                // What the compiler may take for granted there.
                #[cfg(target_arch = "aarch64")]
                $crate::ops::Isa::Neon => body::<$crate::ops::isa::Fma>($($arg),*),
                _ => body::<$crate::ops::isa::Portable>($($arg),*),
            }
        }
    };
}
pub(crate) use simd_kernel;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_detected_path_is_available_and_portable_always_is() {
        assert!(Isa::detect().is_available());
        assert!(Isa::Portable.is_available());
    }
}
