//! When the steps of a run took place: the device notes moments as it reaches them, which are read when all is done, so that nothing
//! waits in between.

use super::device::{Device, DeviceError, Mark};
use crate::profile::Recorder;
use mokume_ir::ids::{FuncId, NodeId};
use std::time::Instant;

/// Moments of a run.
pub(super) struct Timeline {
    function: FuncId,
    /// The device was idle then, after so many nanoseconds of the recorder's time.
    origin: (Mark, u64),
    steps: Vec<(NodeId, Moment, Moment)>,
}

/// A moment, as the host and as the device see it.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    host: Instant,
    /// None for steps of the host.
    device: Option<Mark>,
}

impl Timeline {
    /// Begins a run.
    ///
    /// Errors  when the device fails.
    pub(super) fn new(device: &mut dyn Device, function: FuncId, recorder: &Recorder) -> Result<Self, DeviceError> {
        device.synchronize()?;
        device.forget_marks();
        let began_ns = recorder.now_ns();
        Ok(Timeline { function, origin: (device.mark()?, began_ns), steps: vec![] })
    }
    /// Now, as far as the host is; when the device comes to it, if the step runs there.
    ///
    /// Errors  when the device fails.
    pub(super) fn moment(device: &mut dyn Device, is_on_host: bool) -> Result<Moment, DeviceError> {
        let mark = if is_on_host { None } else { Some(device.mark()?) };
        Ok(Moment { host: Instant::now(), device: mark })
    }
    /// Notes a step.
    pub(super) fn add(&mut self, node: NodeId, from: Moment, to: Moment) {
        self.steps.push((node, from, to));
    }
    /// Waits for the device, and tells the recorder everything.
    ///
    /// Errors  when the device fails.
    pub(super) fn finish(self, device: &mut dyn Device, recorder: &mut Recorder) -> Result<(), DeviceError> {
        let (origin, began_ns) = self.origin;
        for (node, from, to) in self.steps {
            match (from.device, to.device) {
                (Some(from), Some(to)) => {
                    let start_ns = began_ns + device.elapsed_ns(origin, from)?;
                    recorder.add_times(self.function, node, start_ns, device.elapsed_ns(from, to)?);
                }
                _ => {
                    let duration_ns = to.host.duration_since(from.host).as_nanos() as u64;
                    recorder.add_times(self.function, node, recorder.at_ns(from.host), duration_ns);
                }
            }
        }
        device.forget_marks();
        Ok(())
    }
}
