-- Which units of a count were given back (core: marks.rs).
--
-- As bytes: floor · number of runs · for each run: low · high · lost, its fraction · 1 if its top receipt was refunded whole. A
-- run is the units (low, high]. Where core keeps the time that a bucket was credited for them, here is what it was not: the
-- credits of a busy period add up to more than a double holds, and what was lost says nothing more once it is above a span.

-- Reads marks that begin behind byte `offset`; answers them and the offset behind them.
local function read_marks(bytes, offset)
    if #bytes <= offset then
        return { floor = 0 }, offset
    end
    local floor_unit, runs = unpack('<dd', bytes, offset + 1)
    local marks = { floor = floor_unit }
    offset = offset + 16
    for at = 1, runs do
        local low, high, lost, fraction, complete = unpack('<ddddd', bytes, offset + 1)
        marks[at] = { low = low, high = high, lost = lost, fraction = fraction, complete = complete == 1 }
        offset = offset + 40
    end
    return marks, offset
end

local function write_marks(marks)
    local bytes = { pack('<dd', marks.floor, #marks) }
    for at = 1, #marks do
        local run = marks[at]
        bytes[at + 1] = pack('<ddddd', run.low, run.high, run.lost, run.fraction, run.complete and 1 or 0)
    end
    return table.concat(bytes)
end

-- The first run that ends at or above unit `last`.
local function run_at(marks, last)
    local from, to = 1, #marks + 1
    while from < to do
        local middle = floor((from + to) / 2)
        if marks[middle].high < last then
            from = middle + 1
        else
            to = middle
        end
    end
    return from
end

-- How many of the units (last - cost, last] were given back.
local function given_back(marks, cost, last)
    local run = marks[run_at(marks, last)]
    if run and run.low < last then
        return min(last - run.low, cost)
    end
    return 0
end

-- How many units above `last`, of `gross`, were not given back, and the time that was not credited for those that were.
local function held_above(marks, last, gross, denominator)
    local units, lost, fraction = gross - last, 0, 0
    for at = #marks, 1, -1 do
        local run = marks[at]
        if run.low < last then
            break
        end
        units = units - (run.high - run.low)
        lost, fraction = plus(lost, fraction, run.lost, run.fraction, denominator)
    end
    return units, lost, fraction
end

-- Merges the run at `at` with the one above, where they touch and nothing can ask for the credit between them any more.
local function merge(marks, at, denominator)
    local below, above = marks[at], marks[at + 1]
    if below and above and below.high == above.low and below.complete then
        above.low = below.low
        above.lost, above.fraction = plus(below.lost, below.fraction, above.lost, above.fraction, denominator)
        table.remove(marks, at)
    end
end

-- Marks the top `total` of the units as given back, with what was lost of their time; answers how many those are.
local function mark(marks, cost, last, total, lost, fraction, denominator)
    total = min(total, cost)
    local already = given_back(marks, cost, last)
    if total <= already then
        return 0
    end
    local complete, at, low = total == cost, run_at(marks, last), last - total
    if at > 1 then
        low = max(low, marks[at - 1].high)
    end
    local newly
    if already > 0 then
        local run = marks[at]
        newly = run.low - low
        run.low = low
        run.lost, run.fraction = plus(run.lost, run.fraction, lost, fraction, denominator)
        run.complete = run.complete or (run.high == last and complete)
    else
        newly = last - low
        table.insert(marks, at, { low = low, high = last, lost = lost, fraction = fraction, complete = complete })
    end
    merge(marks, at, denominator)
    if at > 1 then
        merge(marks, at - 1, denominator)
    end
    if #marks > REMEMBERED then
        marks.floor = table.remove(marks, 1).high
    end
    return newly
end
