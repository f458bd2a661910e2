// A standing pool of threads that the calling thread joins for the length of each run.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

namespace edge_ad {

// Memory that a thread of the pool keeps between runs: it grows and is never zeroed.
class Scratch {
  public:
    // At least `count` elements of T, 64-byte aligned, until the next call for the same slot.
    template <typename T>
    T* get(std::size_t slot, std::size_t count) {
        return static_cast<T*>(bytes(slot, count, sizeof(T)));
    }

  private:
    struct Free {
        void operator()(void* p) const;
    };
    struct Block {
        std::unique_ptr<void, Free> data;
        std::size_t size = 0;
    };
    void* bytes(std::size_t slot, std::size_t count, std::size_t size);
    std::vector<Block> blocks_;
};

class Pool {
  public:
    using Work = std::function<void(std::size_t task, Scratch& scratch)>;

    // threads counts the caller, so threads - 1 workers are started for each of `streams`, which share
    // nothing. Where cores is not empty, the workers are pinned to them in turn; the calling thread is never
    // pinned. Throws Fault when a thread cannot be started or pinned.
    Pool(std::size_t threads, std::vector<int> cores, std::size_t streams = 1);
    ~Pool();
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    std::size_t threads() const { return threads_; }

    // Calls work(task, scratch) once for every task < tasks and returns when all are done; the first
    // exception of a task is thrown here. As many calls as there are streams run side by side, others take
    // turns. A forked child gets workers of its own on its first call. Not reentrant.
    void run(std::size_t tasks, const Work& work);

  private:
    class Crew;
    Crew* made(std::size_t stream) const;
    Crew& crew(std::size_t stream);

    const std::size_t threads_;
    const std::vector<int> cores_;
    std::vector<std::atomic<Crew*>> crews_;  // one for each stream
    std::atomic<std::size_t> turn_{0};       // which of them a call waits for where all are busy
};

}  // namespace edge_ad
