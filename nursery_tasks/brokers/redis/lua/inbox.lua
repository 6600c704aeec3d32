-- What a claim begins with: jobs are made of what other programs have put into the lists of its queues.
--
-- `in:<queue>` holds messages, of which this heeds some fields; one of which any of these cannot be read becomes a job
-- without a task's name, which the worker puts aside. `raw:<queue>` holds what is not looked into, but for the head that our own
-- programs put before it. The same as `brokers/common/foreign.py` and `model/foreign.py` do for others. Each call takes a bounded
-- number, and nothing is done here where there is nothing.

local function take_in()
    local keys = {}
    for i = 7, #ARGV do
        keys[#keys + 1] = P .. 'in:' .. ARGV[i]
        keys[#keys + 1] = P .. 'raw:' .. ARGV[i]
    end
    if call('EXISTS', unpack(keys)) == 0 then
        return
    end

    local MESSAGES, BYTES, LONGEST = 256, 1048576, 3155760000 -- for one claim, of all queues; a hundred years
    local null = cjson.null
    local SEQUENCES = { -- of a character in UTF-8 that is not ASCII
        '[\194-\223][\128-\191]', '\224[\160-\191][\128-\191]', '[\225-\236\238\239][\128-\191][\128-\191]',
        '\237[\128-\159][\128-\191]', '\240[\144-\191][\128-\191][\128-\191]',
        '[\241-\243][\128-\191][\128-\191][\128-\191]', '\244[\128-\143][\128-\191][\128-\191]',
    }

    local function is_text(value)
        if type(value) ~= 'string' then
            return false
        end
        for _, sequence in ipairs(SEQUENCES) do
            if not string.find(value, '[\128-\255]') then
                return true
            end
            value = string.gsub(value, sequence, ' ') -- a space, so that what stood around it does not come together
        end
        return not string.find(value, '[\128-\255]')
    end

    local SPACES = { -- of Unicode, beside those of ASCII; what Python's `\s` knows
        '\194\133', '\194\160', '\225\154\128', '\226\128[\128-\138\168\169\175]', '\226\129\159', '\227\128\128',
    }

    local function is_name(value)
        if not is_text(value) or string.find(value, '[%s%c]') then
            return false
        end
        for _, space in ipairs(SPACES) do
            if string.find(value, space) then
                return false
            end
        end
        local _, length = string.gsub(value, '[^\128-\191]', '')
        return length >= 1 and length <= 200
    end

    local function is_queue(value)
        if type(value) ~= 'string' then
            return false
        end
        local name, _, node = string.match(value, '^([%w_.-]+)(@?)([%w_.-]*)$')
        return name and #name <= 64 and #node <= 64 and (node ~= '') == (string.find(value, '@', 1, true) ~= nil)
    end

    local function is_number(value)
        return type(value) == 'number' and value == value and math.abs(value) ~= math.huge
    end

    local function is_whole(value)
        return is_number(value) and value == math.floor(value)
    end

    local function seconds(value)
        return math.min(math.max(value, 0), LONGEST)
    end

    local CHECKS = { -- field -> what it may be; what is not there may be missing, all but the task
        queue = is_queue, priority = is_whole, delay = is_number, key = is_name, parent = is_name,
        expires = function(value) return is_number(value) and value >= 0 end,
        id = function(value)
            return value == '' or is_name(value) or is_whole(value) and math.abs(value) < 9007199254740992
        end,
        tags = function(value)
            if type(value) ~= 'table' then
                return false
            end
            for place, word in pairs(value) do
                if type(place) ~= 'number' or not is_name(word) then
                    return false
                end
            end
            return true
        end,
    }

    -- Return what is heeded of a message; nil where any of it is not what it should be.
    local function read(body)
        local of_map = body ~= '' and string.byte(body) >= 128
        local fine, message = pcall(of_map and cmsgpack.unpack or cjson.decode, body)
        if not fine or type(message) ~= 'table' or not is_name(message.task) then
            return nil
        end
        local given = { task = message.task }
        for field, check in pairs(CHECKS) do
            local value = message[field]
            if value ~= nil and value ~= null then
                if not check(value) then
                    return nil
                end
                given[field] = value
            end
        end
        if type(given.id) == 'number' then
            given.id = given.id == 0 and '0' or string.format('%.0f', given.id) -- not '-0'
        elseif given.id == '' then
            given.id = nil
        end
        given.tags, given.delay = given.tags or {}, seconds(given.delay or 0)
        given.priority = math.min(math.max(given.priority or 0, 0), 9)
        given.expires = given.expires and seconds(given.expires)
        return given
    end

    -- Return what was said beside a raw body, see `model/raw.py`.
    local function read_head(body)
        local head = string.match(body, '^%znursery%-tasks%-raw ([^\n]*)\n')
        local fine, said = pcall(cjson.decode, head or '')
        local id = fine and type(said) == 'table' and said.job or nil
        return { id = is_name(id) and id or nil, task = '', tags = {}, priority = 0, delay = 0 }
    end

    local function store(queue, body, raw)
        local too_large = #body > HARD_PAYLOAD_BYTES
        local message = not raw and not too_large and read(body) or read_head(raw and body or '')
        local known = message.id and find(message.id)
        if not known and message.key then
            local n = call('HGET', P .. 'keys', message.task .. '\0' .. message.key)
            known = n and load(n)
        end
        if known then
            if known.s[OWNER] and known.s[STATE] <= STARTED then
                detach(known) -- somebody else may rely on it from now on
            end
            return
        end
        local n = string.format('%014d', call('INCR', P .. 'seq'))
        local id = message.id or string.sub(redis.sha1hex(ARGV[5] .. n), 1, 32)
        local about = encode({
            id, queue, message.task, message.priority, RESULT_TTL_SECONDS, DEFAULT_MAX_CRASHES,
            message.key or null, message.parent or null, message.tags, raw,
        })
        local due = now + message.delay
        local waits = due > now
        local s = {
            waits and SCHEDULED or READY, 0, 0, 0, due, message.expires and due + message.expires or false, now, false,
            false, false, false, false, false, false, false,
        }
        local job = { n = n, s = s, raw = about, payload = body, dirty = true }
        jobs[n] = job
        dirty[#dirty + 1] = job
        if too_large then
            local reason = string.format('oversize: %d bytes, the most is %d', #body, HARD_PAYLOAD_BYTES)
            job.outcome = cjson.encode({ state = 'dead', reason = reason, ended_at = now })
            s[STATE], s[ENDED_AT] = DEAD, now
        else
            hint(waits and 'due' or 'work', queue)
        end
        if message.id or message.key then
            flush() -- so that the next one finds it
        end
    end

    local left, bytes = MESSAGES, BYTES
    for place, key in ipairs(keys) do
        while left > 0 and bytes > 0 do
            local body = redis.pcall('LPOP', key) -- not `call`: somebody may have made another thing of this key
            if type(body) ~= 'string' then
                break
            end
            left, bytes = left - 1, bytes - #body
            store(ARGV[6 + math.ceil(place / 2)], body, place % 2 == 0)
        end
    end
    done()
    hints = {}
end

take_in()
