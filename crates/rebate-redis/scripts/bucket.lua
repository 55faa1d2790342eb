-- The token bucket, GCRA with exact fractions (core: algorithm/bucket.rs). Letter B.
--
-- A unit takes T = unit parts / denominator microseconds; times are (microseconds, parts of the denominator).
--
-- state: shape · identity · burst · unit parts · denominator · tat, its fraction · gross · kept until · charged at
--        [marks]
-- item:  shape · fresh · burst · unit parts · denominator · T, its fraction · burst·T, its fraction · cost · grace
--        · length of an adopted level, 0 or 120   [adopted level] [long key]
-- adopted level: 80 bytes of the state it was adopted from · tat, its fraction · the count's time · 1 if the count is as absent
--                · what remains of it

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

local function charge_bucket(key, item, now, given)
    local shape, fresh, burst, unit_parts, denominator, unit, unit_fraction, span, span_fraction, cost, grace, adopted =
        unpack('<dddddddddddd', item)
    cost = given or cost
    local old = call('GET', key) or ''
    local identity, tat, fraction, gross, kept
    local time, opens = now, true
    if #old > BUCKET then
        local was, old_burst, old_parts, old_denominator
        was, identity, old_burst, old_parts, old_denominator, tat, fraction, gross, kept = unpack('<ddddddddd', old)
        if was ~= shape then
            old = ''
        elseif tat > now or (tat == now and fraction > 0) then
            if old_parts == unit_parts and old_denominator == denominator then
                -- Its time is the later of the clock and the start of its window, unless the clock is far behind.
                local longest, rest = span, span_fraction
                if old_burst ~= burst then
                    longest, rest = span_of(old_burst, unit, unit_fraction, denominator)
                end
                if rest > 0 then
                    longest = longest + 1
                end
                local start = tat - longest
                opens = now < start and start - now > longest
                if not opens and now < start then
                    time = start
                end
            else
                -- It refills at another rate. What that makes of it is worked out by the caller, with core's own function.
                if adopted == 0 or sub(item, 97, 176) ~= sub(old, 1, 80) then
                    return nil, old
                end
                local absent
                tat, fraction, time, absent = unpack('<dddd', item, 177)
                identity, gross, opens = fresh, 0, true
                if absent == 0 then
                    opens = nil
                    time = max(time, now)
                end
            end
        end
    else
        old = ''
    end
    if opens then
        identity, tat, fraction, gross, time = fresh, now, 0, 0, now
    end
    if cost > burst then
        return nil, old
    end
    local parts = cost * unit_fraction + fraction
    local rest = parts % denominator
    local after = tat + cost * unit + (parts - rest) / denominator
    local ahead = after - time
    if ahead > span or (ahead == span and rest > span_fraction) then
        return nil, old
    end
    if gross > MAX_UNIT - cost then
        identity, gross, opens = fresh, 0, true
    end
    local keep, extends
    if opens ~= false or after >= kept then
        -- Kept for a span more than is needed, so that not every charge need extend it.
        extends = opens == false
        kept = after + span + 1
        keep = kept - now + grace
    end
    local state = pack('<dddddddddd', shape, identity, burst, unit_parts, denominator, after, rest, gross + cost, kept, now)
    return state, keep, extends, keep and #item > 96 + adopted and sub(item, 97 + adopted)
end
