//! `Secret<T>`: a value that is never printed and does not outlive its use.
//!
//! Passwords travel in it from the parser to the verifier. It prints `***` in every build, and its memory is
//! overwritten when it is dropped. It must not be compared with `==`: a verifier compares hashes, in constant time.

use std::fmt;

use zeroize::Zeroize;

/// A value that prints as `***` and is zeroed when dropped.
#[derive(Clone, Default)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Wraps a value. Whoever made it must not leave copies behind.
    pub const fn new(value: T) -> Secret<T> {
        Secret(value)
    }

    /// The value. The name is long so that a reader sees each place that looks.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<T: Zeroize> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl From<String> for Secret<String> {
    fn from(value: String) -> Secret<String> {
        Secret(value)
    }
}

impl From<&str> for Secret<String> {
    fn from(value: &str) -> Secret<String> {
        Secret(value.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    #[test]
    fn is_never_printed() {
        let s = Secret::from("hunter2");
        assert_eq!(format!("{s} {s:?} {:?}", Some(&s)), "*** *** Some(***)");
        assert_eq!(s.expose(), "hunter2");
    }

    #[test]
    fn is_zeroed_when_dropped() {
        struct Probe(Rc<Cell<bool>>);
        impl Zeroize for Probe {
            fn zeroize(&mut self) {
                self.0.set(true);
            }
        }
        let zeroed = Rc::new(Cell::new(false));
        drop(Secret::new(Probe(Rc::clone(&zeroed))));
        assert!(zeroed.get());
    }
}
