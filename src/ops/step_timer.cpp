#include "ops/step_timer.h"

#include "base/check.h"

namespace nibble::ops {

StepTimer::StepTimer(const device::Device& device, int64_t operations) : device_(device) {
    if (device_.is_cpu()) return;
    events_.resize(static_cast<size_t>(operations));
    for (Pair& pair : events_) pair = {device::Event::create(device_), device::Event::create(device_)};
}

void StepTimer::start(device::Stream stream) {
    CHECK(!running_, "an operation inside of another");
    running_ = true;
    if (device_.is_cpu()) {
        started_ = Clock::now();
        return;
    }
    if (timed_ == events_.size()) events_.push_back({device::Event::create(device_), device::Event::create(device_)});
    events_[timed_].before.record(stream);
}

void StepTimer::stop(device::Stream stream) {
    CHECK(running_);
    running_ = false;
    if (device_.is_cpu())
        microseconds_.push_back(std::chrono::duration<double, std::micro>(Clock::now() - started_).count());
    else
        events_[timed_].after.record(stream);
    ++timed_;
}

void StepTimer::read_into(Program& program) const {
    CHECK(program.steps.size() == timed_, "{} operations, {} timed", program.steps.size(), timed_);
    for (size_t i = 0; i < timed_; ++i)
        program.steps[i].microseconds =
            device_.is_cpu() ? microseconds_[i] : events_[i].before.microseconds_to(events_[i].after);
}

}  // namespace nibble::ops
