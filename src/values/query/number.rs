//! A number's one exact form, whichever type holds it.

use std::cmp::Ordering;

use serde_json::Number;

/// The lowest power of two of an `f64`, as a positive number.
const BIAS: i32 = 1_074;
/// Above every power of two of an `f64` and a `u64`.
const BEYOND: u16 = 4_095;

/// A number as sign, power of two and fraction. Equal numbers have one form: 1 and 1.0, 0 and -0.0.
/// No two different ones share it: 2⁵³ + 1 is not the float 2⁵³.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exact {
    Negative(Magnitude),
    Zero,
    Positive(Magnitude),
}

/// A positive number: (1 + fraction / 2⁶⁴) × 2^(power − 1 074). Ordered as the numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Magnitude {
    pub(crate) power: u16,
    /// The bits after the leading one, from the highest bit on; the lowest bit is 0.
    pub(crate) fraction: u64,
}

impl Magnitude {
    /// `digits` × 2^`power`; `None` for 0.
    fn new(digits: u64, power: i32) -> Option<Self> {
        let zeros = digits.leading_zeros();
        let aligned = digits.checked_shl(zeros)?;
        let power = 63 - zeros as i32 + power + BIAS;
        Some(Self { power: u16::try_from(power).ok()?, fraction: aligned << 1 })
    }

    /// The magnitude of a finite float; `None` for 0.
    fn of_float(float: f64) -> Option<Self> {
        let bits = float.to_bits();
        let exponent = (bits >> 52 & 0x7ff) as i32;
        let digits = bits & ((1 << 52) - 1);
        let digits = if exponent == 0 { digits } else { digits | 1 << 52 };
        Self::new(digits, exponent.max(1) - 1_075)
    }
}

impl Exact {
    pub(crate) fn of(number: &Number) -> Self {
        if let Some(integer) = number.as_u64() {
            return Self::signed(false, Magnitude::new(integer, 0));
        }
        if let Some(integer) = number.as_i64() {
            return Self::signed(integer < 0, Magnitude::new(integer.unsigned_abs(), 0));
        }
        match number.as_f64() {
            Some(float) if float.is_finite() => {
                Self::signed(float < 0.0, Magnitude::of_float(float))
            }
            // Only if `serde_json` keeps numbers as text, which a dependent may have asked it for.
            _ => {
                let beyond = Magnitude { power: BEYOND, fraction: 0 };
                Self::signed(number.to_string().starts_with('-'), Some(beyond))
            }
        }
    }

    fn signed(negative: bool, magnitude: Option<Magnitude>) -> Self {
        match magnitude {
            None => Self::Zero,
            Some(magnitude) if negative => Self::Negative(magnitude),
            Some(magnitude) => Self::Positive(magnitude),
        }
    }
}

/// The way back to a number, for tests that compare codes with the values that they were made of.
#[cfg(any(test, feature = "simulation"))]
impl Magnitude {
    /// The number as an integer, if it is one below 2⁶⁴.
    fn to_integer(self) -> Option<u64> {
        let power = i32::from(self.power) - BIAS;
        let shift = 63_u32.checked_sub(u32::try_from(power).ok()?)?;
        let digits = 1 << 63 | self.fraction >> 1;
        let integer = digits >> shift;
        (integer << shift == digits).then_some(integer)
    }

    /// The number as a float, if one is equal.
    fn to_float(self) -> Option<f64> {
        let power = i32::from(self.power) - BIAS;
        let bits = if power > 1_023 {
            return None;
        } else if power >= -1_022 {
            u64::try_from(power + 1_023).ok()? << 52 | self.fraction >> 12
        } else {
            (1 << 63 | self.fraction >> 1) >> 63_u16.checked_sub(self.power)?
        };
        let float = f64::from_bits(bits);
        (Self::of_float(float) == Some(self)).then_some(float)
    }
}

#[cfg(any(test, feature = "simulation"))]
impl Exact {
    /// The number, an integer where it is one that 64 bits hold.
    pub(crate) fn to_number(self) -> Option<Number> {
        let (negative, magnitude) = match self {
            Self::Zero => return Some(Number::from(0)),
            Self::Negative(magnitude) => (true, magnitude),
            Self::Positive(magnitude) => (false, magnitude),
        };
        let integer = magnitude.to_integer().and_then(|integer| match negative {
            true => 0_i64.checked_sub_unsigned(integer).map(Number::from),
            false => Some(Number::from(integer)),
        });
        integer.or_else(|| {
            let float = magnitude.to_float()?;
            Number::from_f64(if negative { -float } else { float })
        })
    }
}

impl Ord for Exact {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Negative(a), Self::Negative(b)) => b.cmp(a),
            (Self::Positive(a), Self::Positive(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl Exact {
    fn rank(self) -> u8 {
        match self {
            Self::Negative(_) => 0,
            Self::Zero => 1,
            Self::Positive(_) => 2,
        }
    }
}

impl PartialOrd for Exact {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
