-- The token bucket, GCRA with exact fractions (core: algorithm/bucket.rs). Letter B.
--
-- A unit takes T = unit parts / denominator microseconds; times are (microseconds, parts of the denominator).
--
-- state: shape · identity · tat, its fraction · gross · burst · unit parts · denominator · kept until · charged at
--        [marks]
-- item:  shape · burst · cost · unit parts · denominator · burst·T, its fraction · fresh · grace
--        · length of an adopted level, 0 or 120   [adopted level] [long key]
-- adopted level: 80 bytes of the state it was adopted from · tat, its fraction · the count's time · 1 if the count is as
--                absent · what remains of it

local BUCKET = 79

-- The sum of two times.
local function plus(micros, fraction, more, more_fraction, denominator)
    fraction = fraction + more_fraction
    if fraction >= denominator then
        return micros + more + 1, fraction - denominator
    end
    return micros + more, fraction
end

-- The difference of two times, or zero where the second is the larger.
local function minus(micros, fraction, less, less_fraction, denominator)
    if micros < less or (micros == less and fraction <= less_fraction) then
        return 0, 0
    end
    if fraction >= less_fraction then
        return micros - less, fraction - less_fraction
    end
    return micros - less - 1, fraction + denominator - less_fraction
end

-- `units` · T for at most as many units as a bucket may hold: every product stays within 2^53.
local function span_of(units, micros, fraction, denominator)
    local parts = units * fraction
    local rest = parts % denominator
    return units * micros + (parts - rest) / denominator, rest
end

-- T of a bucket's unit parts.
local function unit_of(unit_parts, denominator)
    local fraction = unit_parts % denominator
    return (unit_parts - fraction) / denominator, fraction
end

-- The time of a count whose clock is before the start of its window; nil where it is so far behind that the count is as
-- absent.
local function time_behind(tat, burst, unit_parts, denominator, now)
    local unit, unit_fraction = unit_of(unit_parts, denominator)
    local longest, rest = span_of(burst, unit, unit_fraction, denominator)
    if rest > 0 then
        longest = longest + 1
    end
    local start = tat - longest
    if now >= start then
        return now
    elseif start - now > longest then
        return nil
    end
    return start
end

local function charge_bucket(key, item, now, given, held)
    local shape, burst, cost, unit_parts, denominator, span, span_fraction = unpack('<ddddddd', item)
    cost = given or cost
    local old = held or call('GET', key) or ''
    local time, opens, kept, identity, tat, fraction, gross = now, true, 0, nil, nil, nil, nil
    if #old > BUCKET then
        local was, old_burst, old_parts, old_denominator
        was, identity, tat, fraction, gross, old_burst, old_parts, old_denominator, kept = unpack('<ddddddddd', old)
        if was ~= shape then
            if has_reservations(old) then
                return charge_bucket(key, item, now, given, without_reservations(key, old, now))
            end
            old, kept = '', 0
        elseif tat > now or (tat == now and fraction > 0) then
            if old_parts ~= unit_parts or old_denominator ~= denominator then
                -- It refills at another rate. What that makes of it is worked out by the caller, with core's own function.
                if unpack('<d', item, 73) == 0 or sub(item, 81, 160) ~= sub(old, 1, 80) then
                    return nil, old
                end
                local absent
                tat, fraction, time, absent = unpack('<dddd', item, 161)
                identity, gross, opens = unpack('<d', item, 57), 0, true
                if absent == 0 then
                    opens = nil
                    time = max(time, now)
                    -- The clock has gone on since it was worked out.
                    if tat < now then
                        tat, fraction = now, 0
                    end
                end
            elseif old_burst == burst and tat - now <= span then
                opens = false
            else
                -- Its time is the later of the clock and the start of its window, unless the clock is far behind.
                time = time_behind(tat, old_burst, unit_parts, denominator, now)
                opens = not time
            end
        end
    else
        old = ''
    end
    if opens then
        identity, tat, fraction, gross, time = unpack('<d', item, 57), now, 0, 0, now
    end
    if cost > burst then
        return nil, old
    end
    local after, rest
    if denominator == 1 then
        after, rest = tat + cost * unit_parts, 0
    else
        local unit_fraction = unit_parts % denominator
        local parts = cost * unit_fraction + fraction
        rest = parts % denominator
        after = tat + cost * ((unit_parts - unit_fraction) / denominator) + (parts - rest) / denominator
    end
    if after - time > span or (after - time == span and rest > span_fraction) then
        return nil, old
    end
    if gross > MAX_UNIT - cost then
        identity, gross, opens = unpack('<d', item, 57), 0, true
    end
    local keep, extends, original
    if after >= kept or (opens ~= false and #old > BUCKET + 1) then
        -- Kept for a span more than is needed, so that not every charge need extend it. What an old instance left behind
        -- the header goes.
        extends = opens == false
        kept = after + span + 1
        local grace, adopted = unpack('<dd', item, 65)
        keep = kept - now + grace
        original = #item > 80 + adopted and sub(item, 81 + adopted)
    end
    local state = pack('<dddddddddd', shape, identity, after, rest, gross + cost, burst, unit_parts, denominator, kept, now)
    return state, keep, extends, original
end
