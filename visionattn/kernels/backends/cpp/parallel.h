// Jobs shared out among threads.
#pragma once
#include <atomic>
#include <vector>

#ifndef _OPENMP
#include <thread>
#endif

#include "simd.h"

// Calls work(job) for every job, threads taking jobs as they come. Results may not depend on who takes which.
// With OpenMP it shares torch's threads, which would otherwise spin for a while on the cores that ours need.
template <class F> void parallel(int jobs, int threads, F work) {
    std::atomic<int> next{0};
    auto run = [&] {
        for (int job; (job = next.fetch_add(1)) < jobs;) work(job);
    };
    const int team = larger(1, threads < jobs ? threads : jobs);
#ifdef _OPENMP
#pragma omp parallel num_threads(team)
    run();
#else
    std::vector<std::thread> others;
    for (int i = 1; i < team; ++i) others.emplace_back(run);
    run();
    for (auto& other : others) other.join();
#endif
}
