//! Codes of the floats of 8 and 4 bits.
//!
//! Source  ONNX Cast-24, tables of special values; OCP Microscaling Formats 1.0.

use mokume_ir::types::Elem;

/// A float of at most 8 bits: sign, exponent, mantissa.
#[derive(Debug, Clone, Copy)]
pub struct SmallFloat {
    sign: u8,
    mantissa_bits: u32,
    bias: i32,
    max: f64,
    max_code: u8,
    /// Codes without sign, infinite and not a number; none where out of range values have no code of their own.
    inf: Option<u8>,
    nan: u8,
    /// One zero, one NaN in the place of -0.
    unsigned_zero: bool,
}

impl SmallFloat {
    /// The format of `elem`, if it is such a float with a sign.
    pub fn of(elem: Elem) -> Option<Self> {
        let (sign, mantissa_bits, bias, max, max_code, inf, nan, unsigned_zero) = match elem {
            Elem::F8E4M3FN => (0x80, 3, 7, 448.0, 0x7e, None, 0x7f, false),
            Elem::F8E4M3FNUZ => (0x80, 3, 8, 240.0, 0x7f, None, 0x80, true),
            Elem::F8E5M2 => (0x80, 2, 15, 57344.0, 0x7b, Some(0x7c), 0x7e, false),
            Elem::F8E5M2FNUZ => (0x80, 2, 16, 57344.0, 0x7f, None, 0x80, true),
            // NaN has no code; it becomes -0.
            Elem::F4E2M1 => (0x08, 1, 1, 6.0, 0x07, Some(0x07), 0x08, false),
            _ => return None,
        };
        Some(SmallFloat { sign, mantissa_bits, bias, max, max_code, inf, nan, unsigned_zero })
    }
    /// The value of a code.
    pub fn decode(&self, code: u8) -> f32 {
        let magnitude = code & (self.sign - 1);
        if self.unsigned_zero && code == self.sign {
            return f32::NAN;
        }
        if magnitude > self.max_code {
            let value = if Some(magnitude) == self.inf { f32::INFINITY } else { f32::NAN };
            return if code & self.sign != 0 { -value } else { value };
        }
        let (exponent, mantissa) = (i32::from(magnitude >> self.mantissa_bits), magnitude & ((1 << self.mantissa_bits) - 1));
        let hidden = if exponent > 0 { 1 << self.mantissa_bits } else { 0 };
        let value = f32::from(mantissa | hidden) * 2f32.powi(exponent.max(1) - self.bias - self.mantissa_bits as i32);
        if code & self.sign != 0 { -value } else { value }
    }
    /// The code nearest to `x`, ties to even. Beyond the range: the largest when `saturate`, else infinity or NaN.
    pub fn encode(&self, x: f64, saturate: bool) -> u8 {
        let sign = if x.is_sign_negative() { self.sign } else { 0 };
        if x.is_nan() {
            return if self.unsigned_zero || self.sign == self.nan { self.nan } else { self.nan | sign };
        }
        let magnitude = x.abs();
        let lowest = 1 - self.bias;
        let exponent = (((magnitude.to_bits() >> 52) as i32) - 1023).max(lowest);
        let steps = (magnitude * 2f64.powi(self.mantissa_bits as i32 - exponent)).round_ties_even();
        if steps * 2f64.powi(exponent - self.mantissa_bits as i32) > self.max {
            return self.beyond(sign, saturate);
        }
        let code = (((exponent - lowest) as u8) << self.mantissa_bits) + steps as u8;
        if code == 0 && self.unsigned_zero { 0 } else { code | sign }
    }
    fn beyond(&self, sign: u8, saturate: bool) -> u8 {
        match self.inf {
            _ if saturate => self.max_code | sign,
            Some(inf) => inf | sign,
            None if self.unsigned_zero => self.nan,
            None => self.nan | sign,
        }
    }
}

/// The power of two that a code of `f8e8m0` stands for.
pub fn decode_e8m0(code: u8) -> f32 {
    match code {
        0xff => f32::NAN,
        _ => 2f64.powi(i32::from(code) - 127) as f32,
    }
}

/// The next power of two not below |x| as a code of `f8e8m0`; infinity and NaN are NaN.
pub fn encode_e8m0(x: f32, saturate: bool) -> u8 {
    let bits = x.to_bits();
    let exponent = (bits >> 23) as u8;
    let fraction = bits & 0x007f_ffff != 0;
    match exponent {
        0xff => 0xff,
        0xfe if fraction && saturate => 0xfe,
        _ => exponent + u8::from(fraction),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: [Elem; 5] = [Elem::F8E4M3FN, Elem::F8E4M3FNUZ, Elem::F8E5M2, Elem::F8E5M2FNUZ, Elem::F4E2M1];

    #[test]
    fn every_code_survives() {
        for elem in FORMATS {
            let format = SmallFloat::of(elem).unwrap();
            for code in 0..=(format.sign | (format.sign - 1)) {
                let value = format.decode(code);
                if !value.is_nan() {
                    assert_eq!(format.encode(value.into(), false), code, "{elem} {code:#x} {value}");
                }
            }
        }
    }

    #[test]
    fn codes_of_ml_dtypes() {
        let xs = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1e9, 464.0, 248.0, 7.0, 0.25, 0.75, 300.0];
        let want: [[u8; 12]; 4] = [
            [127, 127, 255, 0, 128, 127, 126, 120, 78, 40, 52, 121],
            [128, 128, 128, 0, 0, 128, 128, 128, 86, 48, 60, 128],
            [126, 124, 252, 0, 128, 124, 95, 92, 71, 52, 58, 93],
            [128, 128, 128, 0, 0, 128, 99, 96, 75, 56, 62, 97],
        ];
        for (elem, want) in FORMATS.into_iter().zip(want) {
            let format = SmallFloat::of(elem).unwrap();
            assert_eq!(xs.map(|x| format.encode(x, false)), want, "{elem}");
        }
        let f4 = SmallFloat::of(Elem::F4E2M1).unwrap();
        assert_eq!([0.48, 0.25, 1.05, -3.5, -8.0, f64::NAN, 5.0].map(|x| f4.encode(x, true)), [1, 0, 2, 14, 15, 8, 6]);
    }

    #[test]
    fn saturation_keeps_the_largest_value() {
        let format = SmallFloat::of(Elem::F8E5M2).unwrap();
        assert_eq!((format.encode(1e9, true), format.encode(f64::NEG_INFINITY, true)), (0x7b, 0xfb));
    }

    #[test]
    fn e8m0_rounds_up() {
        assert_eq!([0.0, 0.124, 0.25, 1.1, f32::MAX].map(|x| encode_e8m0(x, true)), [0, 124, 125, 128, 254]);
        assert_eq!((encode_e8m0(f32::MAX, false), decode_e8m0(124)), (0xff, 0.125));
        assert_eq!(decode_e8m0(0), 2f32.powi(-126) / 2.0);
    }
}
