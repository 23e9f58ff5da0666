// SPDX-License-Identifier: Apache-2.0
// A volume for code that waits: each call ends when its request has. Not on the loop's thread,
// which is the one that would have to answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <gemel/volume.hpp>
#include <memory>
#include <span>

namespace examples {

class BlockingVolume {
   public:
    // Requires: the volume outlives it.
    explicit BlockingVolume(libgemel::Volume& volume) : volume_(volume) {}

    [[nodiscard]] std::uint64_t size() const { return volume_.size(); }

    libgemel::Error read(std::uint64_t offset, std::span<std::byte> data) {
        return wait([&](auto done) { volume_.read(offset, data, done); });
    }
    libgemel::Error write(std::uint64_t offset, std::span<const std::byte> data,
                          libgemel::Durability durability = libgemel::Durability::acknowledged) {
        return wait([&](auto done) { volume_.write(offset, data, done, durability); });
    }
    libgemel::Error zero(std::uint64_t offset, std::uint64_t size) {
        return wait([&](auto done) { volume_.zero(offset, size, done); });
    }
    libgemel::Error flush() {
        return wait([&](auto done) { volume_.flush(done); });
    }

   private:
    template <typename Begin>
    static libgemel::Error wait(Begin begin) {
        // Shared, because the loop's thread may still be in set_value when this one goes on.
        const auto outcome = std::make_shared<std::promise<libgemel::Error>>();
        begin([outcome](libgemel::Error error) { outcome->set_value(error); });
        return outcome->get_future().get();
    }

    libgemel::Volume& volume_;
};

}  // namespace examples
