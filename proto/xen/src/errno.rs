//! Error numbers of hypercalls.

use core::fmt;

/// An error number, positive. Source: `errno.h`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub u16);

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        impl Errno {
            $($(#[$doc])* pub const $name: Self = Self($number);)*

            /// Name and meaning, if the number is one that Xen documents.
            #[must_use]
            pub const fn meaning(self) -> Option<(&'static str, &'static str)> {
                match self.0 {
                    $($number => Some((stringify!($name), $text)),)*
                    _ => None,
                }
            }
        }
    };
}

names! {
    /// Not allowed.
    EPERM = 1, "not permitted";
    /// No such thing.
    ENOENT = 2, "no such object";
    /// No such domain.
    ESRCH = 3, "no such domain";
    /// Input or output failed.
    EIO = 5, "I/O error";
    /// No such device.
    ENXIO = 6, "no such device or address";
    /// Too long.
    E2BIG = 7, "argument too long";
    /// Try again.
    EAGAIN = 11, "try again";
    /// Out of memory.
    ENOMEM = 12, "out of memory";
    /// Denied, as with a domctl of another version.
    EACCES = 13, "access denied or other interface version";
    /// A pointer that leads nowhere.
    EFAULT = 14, "bad address";
    /// In use.
    EBUSY = 16, "busy";
    /// Exists already.
    EEXIST = 17, "exists already";
    /// No such device.
    ENODEV = 19, "no such device";
    /// Invalid.
    EINVAL = 22, "invalid argument";
    /// No room.
    ENOSPC = 28, "no space left";
    /// Out of range.
    ERANGE = 34, "out of range";
    /// Xen does not have this call.
    ENOSYS = 38, "not implemented";
    /// No data, as for a device whose interrupts were not prepared.
    ENODATA = 61, "no data";
    /// Not supported.
    EOPNOTSUPP = 95, "not supported";
    /// The other side is not there.
    ENOTCONN = 107, "not connected";
}

impl Errno {
    /// A hypercall's result: not negative is the value, negative an error number.
    ///
    /// # Errors
    /// The number, if `result` is negative. What is no error number at all becomes [`Errno::EINVAL`].
    pub const fn check(result: i64) -> Result<u64, Self> {
        if result >= 0 {
            Ok(result as u64)
        } else if result >= -4095 {
            Err(Self(-result as u16))
        } else {
            Err(Self::EINVAL)
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.meaning() {
            Some((name, text)) => write!(f, "{text} ({name})"),
            None => write!(f, "error {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.meaning() {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "Errno({})", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Errno;

    #[test]
    fn results_split_into_values_and_errors() {
        assert_eq!(Errno::check(0), Ok(0));
        assert_eq!(Errno::check(7), Ok(7));
        assert_eq!(Errno::check(-22), Err(Errno::EINVAL));
        assert_eq!(Errno::check(i64::MIN), Err(Errno::EINVAL));
    }
}
