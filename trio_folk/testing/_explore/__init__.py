"""The cancellation explorer: a function is cancelled at each point where it can be, one run a point.

    privates   trio's private names, all of them         order      who runs first, by seed
    points     what a cancellation point is called       watch      sees every step, finds the points
    strike     cancels at one of them                    running    one run, and what it did
    hangs      ends a run that would not end             left       what is there after it
    scan       locks and channels, on demand             findings   what is wrong with a run
    explore    all points, one after the other           summary    what came of it

Knows trio from within. Does not know pools. Picture: docs/design/explorer.md
"""
