// SPDX-License-Identifier: Apache-2.0
// A block device of this machine over memory, gone with the object.
#pragma once

#include "engine/base/units.hpp"

#include <cerrno>
#include <cstdint>
#include <fcntl.h>
#include <linux/loop.h>
#include <string>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace gemel::test {

class LoopDevice {
   public:
    // As `losetup -b BLOCK`. name() is empty where this machine has no loop devices for us.
    LoopDevice(std::uint64_t size, std::uint32_t block) {
        const int control = ::open("/dev/loop-control", O_RDWR | O_CLOEXEC);
        memory_ = ::memfd_create("gemel-test", MFD_CLOEXEC);
        if (::ftruncate(memory_, static_cast<off_t>(size)) != 0) return;
        // Others may take the free one first.
        for (int tries = 0; control >= 0 && tries < 20 && device_ < 0; ++tries) {
            const int number = ::ioctl(control, LOOP_CTL_GET_FREE);
            if (number < 0) break;
            take(number, block);
        }
        if (control >= 0) ::close(control);
    }
    ~LoopDevice() {
        if (device_ >= 0) {
            ::ioctl(device_, LOOP_CLR_FD);
            ::close(device_);
        }
        if (memory_ >= 0) ::close(memory_);
    }
    LoopDevice(const LoopDevice&) = delete;
    LoopDevice& operator=(const LoopDevice&) = delete;

    [[nodiscard]] const std::string& name() const noexcept { return name_; }  // "loop3"
    // The memory grows, and the device with it.
    [[nodiscard]] bool resize(std::uint64_t size) const {
        return ::ftruncate(memory_, static_cast<off_t>(size)) == 0 &&
               ::ioctl(device_, LOOP_SET_CAPACITY) == 0;
    }

   private:
    void take(int number, std::uint32_t block) {
        name_ = "loop" + std::to_string(number);
        const std::string path = "/dev/" + name_;
        const int device = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
        loop_config config{};
        config.fd = static_cast<unsigned>(memory_);
        config.block_size = block;
        if (device >= 0 && ::ioctl(device, LOOP_CONFIGURE, &config) == 0) {
            device_ = device;
            return;
        }
        name_.clear();
        if (device >= 0) ::close(device);
    }

    std::string name_;
    int memory_ = -1;
    int device_ = -1;
};

}  // namespace gemel::test
