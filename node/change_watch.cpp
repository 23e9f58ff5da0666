// SPDX-License-Identifier: Apache-2.0
#include "node/change_watch.hpp"

#include <utility>

namespace gemel {

// One call of the tracker's at a time, where it may wait.
class ChangeWatch::Work final : public Job {
   public:
    explicit Work(ChangeWatch& watch) noexcept : watch_(watch) {}

    void run() noexcept override {
        if (watch_.step_ == Step::taking) {
            watch_.take();
        } else {
            watch_.status_ = watch_.source_->confirm();
        }
    }
    void done() noexcept override {
        if (watch_.step_ == Step::taking) return watch_.taken();
        watch_.step_ = Step::idle;
        if (!watch_.status_.ok()) watch_.failed(watch_.status_, "confirmed");
    }

   private:
    ChangeWatch& watch_;
};

ChangeWatch::ChangeWatch(Loop& loop, LogSink& log, std::unique_ptr<ChangeSource> source)
    : loop_(loop), log_(log), source_(std::move(source)), work_(std::make_unique<Work>(*this)) {}

ChangeWatch::~ChangeWatch() = default;

Result<std::size_t> ChangeWatch::watch(const std::string& directory, std::string& why) {
    const Result<Fd> opened = loop_.vfs().open_directory(directory);
    if (!opened.ok()) return opened.status();
    ScopedFd file(loop_.vfs(), opened.value());
    Result<std::size_t> number = source_->watch(opened.value().value, why);
    if (number.ok()) directories_.push_back(std::move(file));
    return number;
}

// The order is what docs/tracking.md argues with: take, then write back; mirrors look afterwards.
void ChangeWatch::take() noexcept {
    status_ = source_->take(record_);
    // A lost page is told to each descriptor; the volumes' own are who acts on it.
    for (const ScopedFd& directory : directories_) {
        const Status synced = loop_.vfs().sync_file_system(directory.get());
        if (status_.ok()) status_ = synced;
    }
}

void ChangeWatch::begin() {
    std::ignore = source_->has_news();
    step_ = Step::taking;
    take();
    taken();
}

void ChangeWatch::poll() {
    if (step_ == Step::refused) return hand_over(false);
    if (step_ != Step::idle) return;
    if (!source_->has_news() && !std::exchange(look_again_, false)) return;
    step_ = Step::taking;
    loop_.offload(*work_);
}

void ChangeWatch::taken() {
    if (!status_.ok()) {
        step_ = Step::idle;
        record_ = ChangeRecord();
        look_again_ = true;
        return failed(status_, "taken");
    }
    hand_over(true);
}

void ChangeWatch::hand_over(bool is_new) {
    step_ = Step::noting;
    all_noted_ = true;
    waiting_ = consumers_.size() + 1;
    for (const Consumer& consumer : consumers_) {
        consumer(record_, is_new, [this, weak = std::weak_ptr<bool>(alive_)](bool success) {
            if (weak.lock()) noted(success);
        });
    }
    noted(true);
}

void ChangeWatch::noted(bool success) {
    all_noted_ = all_noted_ && success;
    if (--waiting_ != 0) return;
    step_ = all_noted_ ? Step::confirming : Step::refused;
    if (!all_noted_) return;
    look_again_ = !record_.objects.empty() || !record_.incomplete.empty();
    record_ = ChangeRecord();
    loop_.offload(*work_);
}

void ChangeWatch::failed(Status status, const char* what) {
    if (std::exchange(has_failed_, true)) return;
    log_.log(LogLevel::error, std::string("the record of changes behind the mounts can't be ") +
                                  what + ": " + status.to_string());
}

}  // namespace gemel
